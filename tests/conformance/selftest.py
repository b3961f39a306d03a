#!/usr/bin/env python3
"""Tests the tests: tools that are wrong on purpose must be found out, each with the word for its fault."""

import json
import pathlib
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent

TOOL = """#!{python}
import os, signal, shutil, sys
words = sys.argv[1:]
source, out = words[1], words[words.index("-o") + 1] if "-o" in words else None
def edit(change):
    import onnx
    model = onnx.load(source)
    change(model)
    open(out, "wb").write(model.SerializeToString())
def halve(m):
    for t in m.graph.output:
        t.name, old = t.name, t.name
        for n in m.graph.node:
            n.output[:] = [o + "_full" if o == old else o for o in n.output]
        import onnx
        half = onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(onnx.helper.make_tensor("h", 1, [], [0.5])), "half")
        m.graph.initializer.append(half)
        m.graph.node.append(onnx.helper.make_node("Mul", [old + "_full", "half"], [old]))
def vendor(m):
    m.graph.node[0].domain = "com.vendor"
    m.opset_import.add(domain="com.vendor", version=1)
{body}
"""

# (name, what it does to the model, the verdict of run.py)
SABOTEURS = [
    ("copies", "shutil.copy(source, out)", "pass"),
    ("computes half", "edit(halve)", "wrong"),
    ("renames an output", "edit(lambda m: (m.graph.node[-1].output.__setitem__(0, 'z'), setattr(m.graph.output[0], 'name', 'z')))", "iface"),
    ("freezes a dim", "edit(lambda m: m.graph.output[0].type.tensor_type.shape.dim[0].__setattr__('dim_param', 'n'))", "iface"),
    ("adds an input", "edit(lambda m: m.graph.input.add(name='z', type=m.graph.input[0].type))", "iface"),
    ("forgets a node", "edit(lambda m: m.graph.node.pop())", "invalid"),
    ("writes a vendor's operator", "edit(vendor)", "invalid"),
    ("writes noise", "open(out, 'wb').write(b'noise' * 9)", "invalid"),
    ("writes nothing", "pass", "error"),
    ("refuses", "print('no', file=sys.stderr); sys.exit(1)", "error"),
    ("misreads its arguments", "sys.exit(2)", "error"),
    ("panics", "sys.exit(101)", "died"),
    ("crashes", "os.kill(os.getpid(), signal.SIGSEGV)", "died"),
    ("adds a comment", "edit(lambda m: setattr(m, 'doc_string', 'optimized'))", "grew"),
]

# (name, what it does, whether hostile.py accepts it for a file it must refuse)
HOSTILE = [
    ("refuses politely", "sys.exit(f'error: {source} is not a model')", True),
    ("accepts everything", "out and shutil.copy(source, out)", False),
    ("does not name the file", "sys.exit('error')", False),
    ("writes and refuses", "out and open(out, 'w').write('x'); sys.exit(f'error: {source}')", False),
    ("panics", "print(source, file=sys.stderr); sys.exit(101)", False),
    ("writes a bomb", "out and open(out, 'wb').truncate(1 << 25); sys.exit(0)", False),
    ("says too much", "sys.exit((source + chr(10)) * 50)", False),
    ("repeats escapes", "sys.exit(source + chr(27))", False),
    ("never ends", "signal.pause()", False),
]


def main():
    failures = 0
    with tempfile.TemporaryDirectory(prefix="selftest-") as folder:
        folder = pathlib.Path(folder)
        tool, report = folder / "tool", folder / "report.json"

        def write(body):
            tool.write_text(TOOL.format(python=sys.executable, body=body))
            tool.chmod(0o755)

        def run(script, *arguments):
            command = [sys.executable, HERE / script, "--bin", tool, "--jobs", "1", "--json", report, *arguments]
            return subprocess.run(command, capture_output=True, text=True).returncode

        def expect(name, want, got):
            nonlocal failures
            if want != got:
                failures += 1
                print(f"a tool that {name}: expected {want}, got {got}")

        for name, body, want in SABOTEURS:
            write(body)
            code = run("run.py", "--sets", "node", "--filter", "test_add_bcast")
            verdicts = {c: v[0] for c, v in json.loads(report.read_text())["node"].items()}
            expect(name, ({"test_add_bcast": want}, 0 if want == "pass" else 1), (verdicts, code))
        for name, body, accepted in HOSTILE:
            write(body)
            expect(name, 0 if accepted else 1, run("hostile.py", "--filter", "weight-too-short", "--timeout", "3"))
    total = len(SABOTEURS) + len(HOSTILE)
    print(f"selftest: {total - failures} passed, {failures} failed")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
