"""ONNX nodes, added one at a time."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper


@dataclass
class GraphBuilder:
    """The nodes and constants of a graph so far. All their names start with ``prefix``."""

    prefix: str
    nodes: list[NodeProto] = field(default_factory=list)
    constants: list[TensorProto] = field(default_factory=list)

    def add(self, operation: str, *inputs: str, **attributes: object) -> str:
        """Add a node; returns the name of its output."""
        name = f"{self.prefix}{len(self.nodes)}"
        self.nodes.append(helper.make_node(operation, inputs, [name], name, **attributes))
        return name

    def constant(self, value: object, dtype: type = np.float32) -> str:
        """Add a constant; returns its name."""
        name = f"{self.prefix}constant{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.array(value, dtype), name))
        return name
