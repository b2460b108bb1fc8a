"""Small models that cover what Deft reads: every operator, each way to store a constant, several operator sets.

models() yields (name, ModelProto, {input: array}). As a script, with a folder: writes them there, as seeds for fuzzing."""
import sys

import numpy as np
from onnx import TensorProto, helper, numpy_helper


def rng():
    return np.random.default_rng(1)


def floats(*shape, scale=0.5):
    return (rng().standard_normal(shape) * scale).astype(np.float32)


def constant(name, array):
    return numpy_helper.from_array(np.asarray(array), name)


def typed(name, data_type, dims, values):
    """Stored in a typed field instead of raw bytes."""
    return helper.make_tensor(name, data_type, dims, values)


def model(nodes, inputs, outputs, constants=(), opset=17, ir=8, name="net"):
    graph = helper.make_graph(nodes, name,
                              [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in inputs],
                              [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in outputs], list(constants))
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], producer_name="test")
    made.ir_version = ir
    return made


def conv_net(opset):
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["c1"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", ["c1", "scale", "shift", "mean", "var"], ["n1"], epsilon=0.01),
        helper.make_node("Relu", ["n1"], ["r1"]),
        helper.make_node("MaxPool", ["r1"], ["p1"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Conv", ["p1", "w2"], ["c2"], kernel_shape=[3, 3], strides=[2, 2], group=2, auto_pad="SAME_UPPER"),
        helper.make_node("Sigmoid", ["c2"], ["s2"]),
        helper.make_node("AveragePool", ["s2"], ["p2"], kernel_shape=[2, 2], pads=[0, 0, 1, 1]),
        helper.make_node("GlobalAveragePool", ["p2"], ["g"]),
        helper.make_node("Flatten", ["g"], ["f"]),
        helper.make_node("Gemm", ["f", "w3", "b3"], ["logits"], transB=1, alpha=0.5),
        helper.make_node("Softmax", ["logits"], ["y"], axis=1),
    ]
    constants = [constant("w1", floats(4, 1, 3, 3)), constant("b1", floats(4)), constant("scale", floats(4) + 1),
                 constant("shift", floats(4)), constant("mean", floats(4)), constant("var", floats(4) ** 2 + 0.5),
                 constant("w2", floats(4, 2, 3, 3)), constant("w3", floats(3, 4)), constant("b3", floats(3))]
    return model(nodes, [("x", ["N", 1, 8, 8])], [("y", ["N", 3])], constants, opset), {"x": floats(2, 1, 8, 8)}


def shapes_net():
    """Reshape by computed and constant shapes, Squeeze, Unsqueeze, Transpose, Concat, Dropout, Identity, Constant nodes."""
    nodes = [
        helper.make_node("Constant", [], ["rows"], value=constant("", np.array([-1], np.int64))),
        helper.make_node("Constant", [], ["columns"], value_ints=[6]),
        helper.make_node("Concat", ["rows", "columns"], ["shape"], axis=0),
        helper.make_node("Reshape", ["x", "shape"], ["a"]),
        helper.make_node("Unsqueeze", ["a", "axes"], ["b"]),
        helper.make_node("Squeeze", ["b", "axes"], ["c"]),
        helper.make_node("Transpose", ["c"], ["d"], perm=[1, 0]),
        helper.make_node("Transpose", ["d"], ["e"]),
        helper.make_node("Concat", ["e", "c"], ["f"], axis=1),
        helper.make_node("Dropout", ["f"], ["g", ""]),
        helper.make_node("Identity", ["g"], ["h"]),
        helper.make_node("Clip", ["h", "low", ""], ["i"]),
        helper.make_node("Tanh", ["i"], ["y"]),
    ]
    constants = [typed("axes", TensorProto.INT64, [1], [1]), typed("low", TensorProto.FLOAT, [], [-0.25])]
    return model(nodes, [("x", ["N", 2, 3])], [("y", ["N", 12])], constants), {"x": floats(4, 2, 3)}


def arithmetic_net():
    """Broadcasting, MatMul of two kinds, shared weights, a residual, two outputs."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"], name="first"),
        helper.make_node("Add", ["a", "b"], ["c"]),
        helper.make_node("Relu", ["c"], ["d"]),
        helper.make_node("MatMul", ["d", "w"], ["e"]),
        helper.make_node("Sub", ["e", "x"], ["f"]),
        helper.make_node("Mul", ["f", "half"], ["g"]),
        helper.make_node("Div", ["g", "b"], ["h"]),
        helper.make_node("LogSoftmax", ["h"], ["y"], axis=-1),
    ]
    constants = [constant("w", floats(3, 3)), typed("b", TensorProto.FLOAT, [3], [1.0, 2.0, -3.0]),
                 typed("half", TensorProto.FLOAT, [], [0.5])]
    made = model(nodes, [("x", ["N", 3])], [("y", ["N", 3]), ("d", ["N", 3])], constants)
    made.metadata_props.add(key="author", value="a test")
    return made, {"x": floats(2, 3)}


def old_net():
    """IR version 3 lists initializers among the inputs; operator set 7 has attributes where later ones have inputs."""
    nodes = [
        helper.make_node("Unsqueeze", ["x"], ["a"], axes=[1]),
        helper.make_node("Clip", ["a"], ["b"], min=-0.25, max=0.5),
        helper.make_node("Squeeze", ["b"], ["c"], axes=[1]),
        helper.make_node("Gemm", ["c", "w", "bias"], ["d"]),
        helper.make_node("Dropout", ["d"], ["e"], ratio=0.3),
        helper.make_node("Softmax", ["e"], ["y"]),
    ]
    constants = [constant("w", floats(3, 2)), constant("bias", floats(2))]
    inputs = [("x", [2, 3]), ("w", [3, 2]), ("bias", [2])]
    return model(nodes, inputs, [("y", [2, 2])], constants, opset=9, ir=3), {"x": floats(2, 3)}


def conv_1d():
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], kernel_shape=[3], dilations=[2], pads=[2, 0]),
        helper.make_node("MaxPool", ["c"], ["p"], kernel_shape=[2], strides=[2], ceil_mode=1),
        helper.make_node("AveragePool", ["p"], ["y"], kernel_shape=[2], pads=[1, 0], count_include_pad=1),
    ]
    return model(nodes, [("x", [1, 2, 9])], [("y", [1, 3, 4])], [constant("w", floats(3, 2, 3)),
                 constant("b", floats(3))]), {"x": floats(1, 2, 9)}


def control_flow():
    """A loop that is given neither a number of turns nor a condition, so that only its body says their types."""
    def value(name, data_type=TensorProto.FLOAT, shape=(4,)):
        return helper.make_tensor_value_info(name, data_type, shape)

    halved, doubled = (helper.make_graph([helper.make_node(op, ["more", "factor"], [out])], name, [], [value(out)])
                    for op, name, out in (("Div", "halve", "halved"), ("Mul", "double", "doubled")))
    body = helper.make_graph(
        [helper.make_node("Add", ["state", "x"], ["more"]), helper.make_node("ReduceSum", ["more"], ["sum"], keepdims=0),
         helper.make_node("Less", ["sum", "limit"], ["go_on"]), helper.make_node("Less", ["turn", "two"], ["early"]),
         helper.make_node("If", ["early"], ["next"], then_branch=doubled, else_branch=halved)],
        "body", [value("turn", TensorProto.INT64, ()), value("condition", TensorProto.BOOL, ()), value("state")],
        [value("go_on", TensorProto.BOOL, ()), value("next")])
    nodes = [helper.make_node("Abs", ["x"], ["start"]), helper.make_node("Loop", ["", "", "start"], ["y"], body=body)]
    constants = [constant("limit", np.float32(20)), constant("two", np.int64(2)), constant("factor", np.float32([2]))]
    return model(nodes, [("x", (4,))], [("y", (4,))], constants), {"x": np.float32([1, 2, 0.5, 1])}


def models():
    for opset in (9, 13, 17):
        yield (f"conv_opset{opset}", *conv_net(opset))
    yield ("shapes", *shapes_net())
    yield ("arithmetic", *arithmetic_net())
    yield ("old", *old_net())
    yield ("conv_1d", *conv_1d())
    yield ("control_flow", *control_flow())


if __name__ == "__main__":
    for name, made, _ in models():
        with open(f"{sys.argv[1]}/{name}.onnx", "wb") as file:
            file.write(made.SerializeToString())
