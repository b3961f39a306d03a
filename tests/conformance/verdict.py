"""What "the same model" means: the same interface, valid, and the same numbers."""

import numpy as np
import onnx

SMALL_GROWTH = 4096  # what a small file may grow by to have a node less
CATEGORIES = ("pass", "wrong", "invalid", "iface", "error", "died", "grew")

# Operators whose result is drawn at random: only dtype and shape can be compared.
RANDOM = {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli"}

# (rtol, atol) by type. f32: the tests' own 1e-3 against values stored by numpy, and 1e-5 for sums that cancel. The
# short floats: 8 units in the last place (2^-10, 2^-7). f64 keeps what a cast through f32 would lose. Everything else
# is exact: integers, bools, strings, and floats of 8 bits or fewer, where one step is already 6 %.
TOLERANCE = {
    "float64": (1e-7, 1e-9),
    "float32": (1e-3, 1e-5),
    "float16": (8 * 2.0**-10, 1e-3),
    "bfloat16": (8 * 2.0**-7, 1e-2),
    "complex64": (1e-3, 1e-5),
    "complex128": (1e-7, 1e-9),
}


def difference(want, got, only_types=False):
    """None when the two values are equal, else one line that says how they differ."""
    if want is None or got is None:
        return None if want is got else f"{describe(want)} became {describe(got)}"
    if isinstance(want, (list, tuple)) or isinstance(got, (list, tuple)):
        if not (isinstance(want, (list, tuple)) and isinstance(got, (list, tuple))) or len(want) != len(got):
            return f"{describe(want)} became {describe(got)}"
        return next((d for w, g in zip(want, got) if (d := difference(w, g, only_types))), None)
    if isinstance(want, dict) or isinstance(got, dict):
        return None if want == got else "maps differ"
    want, got = np.asarray(want), np.asarray(got)
    text = want.dtype.kind in "OUST", got.dtype.kind in "OUST"
    if want.shape != got.shape or text[0] != text[1] or (not text[0] and want.dtype != got.dtype):
        return f"{describe(want)} became {describe(got)}"
    if only_types or want.size == 0:
        return None
    if text[0]:
        differ = want.astype(str) != got.astype(str)
    elif want.dtype.name in TOLERANCE:
        rtol, atol = TOLERANCE[want.dtype.name]
        wide = np.complex128 if want.dtype.kind == "c" else np.float64
        want, got = want.astype(wide), got.astype(wide)
        differ = ~np.isclose(got, want, rtol=rtol, atol=atol, equal_nan=True)
    elif want.dtype.kind in "iub":
        differ = want != got
    else:  # the ml_dtypes: int4, float8 and the like
        want, got = want.astype(np.float64), got.astype(np.float64)
        differ = (want != got) & ~(np.isnan(want) & np.isnan(got))
    if not np.any(differ):
        return None
    at = tuple(int(i) for i in np.argwhere(differ)[0])
    index = f"[{', '.join(map(str, at))}]" if at else ""
    return f"{np.count_nonzero(differ)} of {differ.size} elements differ, first {index} {want[at]} became {got[at]}"


def all_different(want, got, only_types=False):
    """`difference` over lists of outputs."""
    if len(want) != len(got):
        return f"{len(want)} outputs became {len(got)}"
    for k, (w, g) in enumerate(zip(want, got)):
        if d := difference(w, g, only_types):
            return f"output {k}: {d}"
    return None


def describe(value):
    if value is None:
        return "nothing"
    if isinstance(value, (list, tuple)):
        return f"a list of {len(value)}"
    value = np.asarray(value)
    return f"{value.dtype.name}{list(value.shape)}"


# --- the interface


def type_text(typ):
    """A type with its dims as text; an unknown dim is `?`, a type without a shape has no brackets."""
    kind = typ.WhichOneof("value")
    if kind in ("tensor_type", "sparse_tensor_type"):
        t = getattr(typ, kind)
        name = onnx.TensorProto.DataType.Name(t.elem_type).lower()
        if not t.HasField("shape"):
            return name
        dims = [str(d.dim_value) if d.HasField("dim_value") else d.dim_param or "?" for d in t.shape.dim]
        return f"{name}[{','.join(dims)}]"
    if kind in ("sequence_type", "optional_type"):
        return f"{kind[:-5]}({type_text(getattr(typ, kind).elem_type)})"
    if kind == "map_type":
        return f"map({typ.map_type.key_type}, {type_text(typ.map_type.value_type)})"
    return "untyped"


def element_text(typ):
    """The type without its dims: what a tool keeps that names or resolves open dims."""
    return type_text(typ).partition("[")[0]


def frozen_inputs(model):
    """Initializers listed as inputs that are none: before IR 4 all had to be, and exporters went on listing all."""
    weights = {t.name for t in model.graph.initializer}
    habit = weights <= {i.name for i in model.graph.input}
    return weights if model.ir_version < 4 or habit else set()


def interface_change(before, after, text=type_text):
    """None, or one line on how the inputs and outputs of `after` differ from those of `before`, types as `text` has them."""
    frozen = frozen_inputs(before)
    weights = {t.name for t in after.graph.initializer}
    row = lambda v: (v.name, text(v.type))
    pairs = (
        (
            "input",
            [row(v) for v in before.graph.input if v.name not in frozen],
            [row(v) for v in after.graph.input if not (v.name in frozen and v.name in weights)],
        ),
        ("output", [row(v) for v in before.graph.output], [row(v) for v in after.graph.output]),
    )
    for what, old, new in pairs:
        if old == new:
            continue
        if sorted(old) == sorted(new):
            return f"{what}s changed their order: {[n for n, _ in new]}"
        gone, come = [v for v in old if v not in new], [v for v in new if v not in old]
        listed = lambda vs: ", ".join(f"{n} {t}" for n, t in vs) or "nothing"
        return f"{what} {listed(gone)} became {listed(come)}"
    return None


# --- the graph


def bodies(graph):
    """The graph and every body nested in it."""
    yield graph
    for node in graph.node:
        for a in node.attribute:
            if a.type == onnx.AttributeProto.GRAPH:
                yield from bodies(a.g)
            for g in a.graphs:
                yield from bodies(g)


def all_nodes(model):
    for graph in bodies(model.graph):
        yield from graph.node
    for function in model.functions:
        for node in function.node:
            yield node
            for a in node.attribute:
                for g in [a.g] if a.type == onnx.AttributeProto.GRAPH else a.graphs:
                    for graph in bodies(g):
                        yield from graph.node


def node_count(model):
    """Nodes in the graph, its bodies and the functions. Constant is a way to write a weight, not work."""
    return sum(n.op_type != "Constant" for n in all_nodes(model))


def is_random(model):
    return any(n.op_type in RANDOM for n in all_nodes(model))


def domains(model):
    return {"" if n.domain == "ai.onnx" else n.domain for n in all_nodes(model)}


def invalidity(before, after_path, after, original_is_valid, may_add=frozenset()):
    """None, or why the optimized file is not a valid model although the original is one.

    `original_is_valid` is asked only when the optimized file is not; `may_add` are domains that the target has.
    """
    new = domains(after) - domains(before) - {f.domain for f in before.functions} - may_add
    if new:
        return f"operators from a domain the original does not use: {', '.join(sorted(new))}"
    try:
        onnx.checker.check_model(after_path, full_check=False)
    except Exception as e:
        if original_is_valid():
            return " ".join(f"checker: {e}".split())[:200]
    return None


def checker_accepts(path):
    try:
        onnx.checker.check_model(path, full_check=False)
        return True
    except Exception:
        return False


# --- reporting


def print_table(columns, rows):
    """`rows` are lists of cells; the first column is a name, the rest are numbers."""
    rows = [[str(c) for c in row] for row in rows]
    widths = [max(len(r[k]) for r in [list(columns), *rows]) for k in range(len(columns))]
    line = lambda r: "  ".join(c.ljust(w) if k == 0 else c.rjust(w) for k, (c, w) in enumerate(zip(r, widths)))
    print(line(columns))
    for row in rows:
        print(line(row))
