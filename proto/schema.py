"""Writes src/ops/schema/table.rs, one row per operator and version, from the schemas of the onnx package.

    pip install onnx==1.23.2
    python proto/schema.py > src/ops/schema/table.rs

The table is a list of facts (names, arities, types, defaults); no text of the specification is copied.
"""

import struct

import onnx
from onnx import defs

RANDOM = {"RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Multinomial", "Bernoulli"}
UNLIMITED = 65535

KIND = {
    "INT": "Int",
    "FLOAT": "Float",
    "STRING": "String",
    "TENSOR": "Tensor",
    "GRAPH": "Graph",
    "SPARSE_TENSOR": "SparseTensor",
    "TYPE_PROTO": "Type",
    "INTS": "Ints",
    "FLOATS": "Floats",
    "STRINGS": "Strings",
    "TENSORS": "Tensors",
    "GRAPHS": "Graphs",
    "SPARSE_TENSORS": "SparseTensors",
    "TYPE_PROTOS": "Types",
}


class Pool:
    """Named statics, one per distinct slice, so that equal lists are stored once."""

    def __init__(self, prefix, element):
        self.prefix, self.element, self.names, self.lines = prefix, element, {}, []

    def __call__(self, items):
        if not items:
            return "&[]"
        body = ", ".join(items)
        if body not in self.names:
            name = self.names[body] = f"{self.prefix}{len(self.names)}"
            self.lines.append(f"static {name}: [{self.element}; {len(items)}] = [{body}];")
        return f"&{self.names[body]}"


def text(value):
    value = value.decode() if isinstance(value, bytes) else value
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def single(value):
    """The shortest decimal that reads back as the same f32."""
    for digits in range(1, 10):
        short = f"{value:.{digits}g}"
        try:
            if struct.unpack("<f", struct.pack("<f", float(short)))[0] == value:
                break
        except OverflowError:  # rounded up past the largest f32
            continue
    return short if any(c in short for c in ".e") else short + ".0"


def default(attribute):
    value = attribute.default_value
    match value.type:
        case onnx.AttributeProto.UNDEFINED:
            return "Default::None"
        case onnx.AttributeProto.INT:
            return f"Default::Int({value.i})"
        case onnx.AttributeProto.FLOAT:
            return f"Default::Float({single(value.f)})"
        case onnx.AttributeProto.STRING:
            return f"Default::Str({text(value.s)})"
        case onnx.AttributeProto.INTS:
            return f"Default::Ints(&[{', '.join(map(str, value.ints))}])"
        case onnx.AttributeProto.FLOATS:
            return f"Default::Floats(&[{', '.join(map(single, value.floats))}])"
        case onnx.AttributeProto.STRINGS:
            return f"Default::Strings(&[{', '.join(map(text, value.strings))}])"
    raise ValueError(f"{attribute.name}: no spelling for a default of type {value.type}")


def main():
    types = Pool("T", "&str")
    constraints = Pool("C", "(&str, &[&str])")
    params = Pool("P", "Param")
    attrs = Pool("A", "AttrSpec")
    rows = []
    for s in sorted(defs.get_all_schemas_with_history(), key=lambda s: (s.domain, s.name, s.since_version)):
        domain = "" if s.domain == "ai.onnx" else s.domain

        def formal(parameters):
            return params([
                f"Param {{ name: {text(p.name)}, ty: {text(p.type_str)}, kind: ParamKind::{p.option.name} }}"
                for p in parameters
            ])

        attributes = attrs([
            f"AttrSpec {{ name: {text(a.name)}, kind: AttrKind::{KIND[a.type.name]}, "
            f"required: {str(a.required).lower()}, default: {default(a)} }}"
            for _, a in sorted(s.attributes.items())
        ])
        bounds = constraints([
            f"({text(c.type_param_str)}, {types([text(t) for t in sorted(c.allowed_type_strs)])})"
            for c in s.type_constraints
        ])
        body = s.has_function or s.has_context_dependent_function
        rows.append(
            f"    Schema {{ domain: {text(domain)}, name: {text(s.name)}, since: {s.since_version}, "
            f"deprecated: {str(s.deprecated).lower()}, "
            f"min_inputs: {s.min_input}, max_inputs: {min(s.max_input, UNLIMITED)}, "
            f"min_outputs: {s.min_output}, max_outputs: {min(s.max_output, UNLIMITED)}, "
            f"inputs: {formal(s.inputs)}, outputs: {formal(s.outputs)}, attrs: {attributes}, "
            f"type_constraints: {bounds}, deterministic: {str(s.name not in RANDOM).lower()}, "
            f"function_body: {str(body).lower()} }},"
        )

    print("//! Every operator and version that onnx", onnx.__version__, "defines, sorted by domain, name and version.")
    print("//!")
    print("//! Generated: `pip install onnx==1.23.2`, then `python proto/schema.py > src/ops/schema/table.rs`.")
    print()
    print("use super::{AttrKind, AttrSpec, Default, Param, ParamKind, Schema};")
    print()
    print("/// The newest version of the default domain that the table knows.")
    print(f"pub(super) const NEWEST_OPSET: u32 = {defs.onnx_opset_version()};")
    for pool in (types, constraints, params, attrs):
        print()
        print("\n".join(pool.lines))
    print()
    print(f"pub(super) static SCHEMAS: [Schema; {len(rows)}] = [")
    print("\n".join(rows))
    print("];")


if __name__ == "__main__":
    main()
