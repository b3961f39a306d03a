use super::{parse, print};
use crate::ir::{DType, ScopeId};

/// The text of the text, after checking that the text of that is the same.
fn again(text: &str) -> String {
    let once = print(&parse(text).unwrap_or_else(|e| panic!("{e}\n{text}")));
    let twice = print(&parse(&once).unwrap_or_else(|e| panic!("{e}\n{once}")));
    assert_eq!(once, twice);
    once
}

fn error(text: &str) -> String {
    match parse(text) {
        Ok(_) => panic!("this text is wrong: {text}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_graph_alone_is_a_model_of_the_default_opset() {
    let text = again("g (float[N,3] x, float[3] b) => (float[N,3] y) { s = Add(x, b) y = Relu(s) }");
    insta::assert_snapshot!(text, @r#"
    <ir_version: 10, opset_import: ["": 21]>
    g (float[N,3] x, float[3] b) => (float[N,3] y)
    {
      s = Add(x, b)                            # float[N,3]
      y = Relu(s)                              # float[N,3]
    }
    "#);
}

#[test]
fn weights_are_spelled_out_or_summed_up() {
    let text = again(
        r#"g (float[4,4] x, float16 h, float[2] d = {1, -0.5}) => (float[4,4] y, float16 z)
        <float[4,4] w, float[4] b = {1e-9, -0, inf, 3.25}, float16 half = {14336}, int64[5] p = {0, 1, -2, 3, 4},
         string[1] s = {"a\"b\\"}, int4[3] n = {-8, 7, 1}, bool[2] t = {1, 0}>
        {
            m = Add(x, w)
            y = Add(m, b)
            z = Mul(h, half)
        }"#,
    );
    insta::assert_snapshot!(text, @r#"
    <ir_version: 10, opset_import: ["": 21]>
    g (float[4,4] x, float16 h, float[2] d = {1, -0.5}) => (float[4,4] y, float16 z)
    < float[4,4] w                           # 16 elements, sum 0.14195, |max| 0.22374
    , float[4] b = {1e-9, -0, inf, 3.25}
    , float16 half = {14336}                 # 0.5
    , int64[5] p = {0, 1, -2, 3, 4}
    , string[1] s = {"a\"b\\"}
    , int4[3] n = {-8, 7, 1}
    , bool[2] t = {1, 0}
    >
    {
      m = Add(x, w)                            # float[4,4]
      y = Add(m, b)                            # float[4,4]
      z = Mul(h, half)                         # float16
    }
    "#);
}

#[test]
fn operands_and_results_may_be_left_out() {
    let text = again(
        r#"g (float[5] x, float hi) => (float[5] y, int64[] i) {
            ["my node"] y = Clip(x, , hi)
            , i = my.Op <axis = 0> (x, k, "")
            k = Constant <value_ints = [2]> ()
            s = Abs(y)
        }"#,
    );
    insta::assert_snapshot!(text, @r#"
    <ir_version: 10, opset_import: ["": 21, "my": 1]>
    g (float[5] x, float hi) => (float[5] y, int64[] i)
    < int64[1] k = {2}
    >
    {
      ["my node"] y = Clip(x, , hi)            # float[5]
      , i = my.Op<axis=0>(x, k, "")            # ?, int64[]
      s = Abs(y)                               # float[5]
    }
    "#);
}

#[test]
fn attributes_of_every_kind() {
    let text = again(
        r#"<ir_version: 10, opset_import: ["": 21, "my.domain": 3], producer_name: "me", metadata_props: ["k": "v"]>
        "my graph" (float[2] x) => (float[2] y)
        {
            y = my.domain.Op:v2 <
                i = -3, f = 1.0, f2: float = 2, big = 1e30, inf = -inf, s = "a\"\\b", is = [1, 2], fs = [1.0, 2.5],
                none: strings = [], ss = ["x", ""], t = float[2] {1, 2}, tn = int8 named = {-1}, large = uint8[20] {},
                ty = seq(float[N, ?]), tys = [float, map(int64, optional(string[]))],
                sp = sparse_tensor(float[9]) {float[2] {1, 2}, int64[2] {3, 7}}
            > (x)
        }"#,
    );
    insta::assert_snapshot!(text, @r#"
    <ir_version: 10, opset_import: ["": 21, "my.domain": 3], producer_name: "me", metadata_props: ["k": "v"]>
    "my graph" (float[2] x) => (float[2] y)
    {
      y = my.domain.Op:v2(x)<                  # float[2]
        i=-3,
        f=1.0,
        f2=2.0,
        big=1e30,
        inf=-inf,
        s="a\"\\b",
        is=[1, 2],
        fs=[1.0, 2.5],
        none: strings=[],
        ss=["x", ""],
        t=float[2] {1, 2},
        tn=int8 {-1},
        large=uint8[20] {},                      # 20 elements, sum 91, |max| 7
        ty=seq(float[N,?]),
        tys=[float, map(int64, optional(string[]))],
        sp=sparse_tensor(float[9]) {float[2] {1, 2}, int64[2] {3, 7}}
      >
    }
    "#);
}

#[test]
fn bodies_are_indented_and_read_outer_values() {
    let text = again(
        r#"g (bool c, float[2] x) => (float[2] y) {
            y = If (c) <
                then_branch = yes () => (float[2] a) { a = Relu(x) },
                else_branch = "n-o" () => (float[2] a) <float[2] w = {1, 2}> { a = Add(x, w) }
            >
        }"#,
    );
    insta::assert_snapshot!(text, @r#"
    <ir_version: 10, opset_import: ["": 21]>
    g (bool c, float[2] x) => (float[2] y)
    {
      y = If(c)<                               # float[2]
        else_branch=n_o () => (float[2] a)
        < float[2] w = {1, 2}
        >
        {
          a = Add(x, w)                            # float[2]
        },
        then_branch=yes () => (float[2] a)
        {
          a = Relu(x)                              # float[2]
        }
      >
    }
    "#);
}

#[test]
fn functions_are_inlined_or_kept() {
    let source = r#"
        <ir_version: 10, opset_import: ["": 21, "f": 1]>
        g (float[2] x) => (float[2] y) { y = f.Scale <by = 3.0> (x) }
        <domain: "f", opset_import: ["": 21]>
        Scale <by> (a) => (b) { k = Constant <value_float: float = @by> () b = Mul(a, k) }
    "#;
    insta::assert_snapshot!(again(source), @r#"
    <ir_version: 10, opset_import: ["": 21, "f": 1]>
    g (float[2] x) => (float[2] y)
    < float k = {3}
    >
    {
      y = Mul(x, k)                            # float[2]
    }
    "#);
    let options = crate::onnx::ReadOptions { functions: crate::onnx::Functions::Kept, ..Default::default() };
    let kept = print(&super::parse_with(source, &options).unwrap());
    assert_eq!(print(&super::parse_with(&kept, &options).unwrap()), kept);
    insta::assert_snapshot!(kept, @r#"
    <ir_version: 10, opset_import: ["": 21, "f": 1]>
    g (float[2] x) => (float[2] y)
    {
      y = f.Scale<by=3.0>(x)                   # float[2]
    }
    <domain: "f", opset_import: ["": 21]>
    Scale <by> (a) => (b)
    {
      k = Constant<value_float: float=@by>()
      b = Mul(a, k)
    }
    "#);
}

#[test]
fn types_that_inference_does_not_find_are_declared() {
    let text = again(
        "g (float[N] x) => (float[] y) <float[N,7] a, float[N] b> {
            a = com.microsoft.Unknown(x)
            b = Relu(x)
            c = com.microsoft.Unknown(a, b)
            y = Relu(c)
        }",
    );
    insta::assert_snapshot!(text, @r#"
    <ir_version: 10, opset_import: ["": 21, "com.microsoft": 1]>
    g (float[N] x) => (float[] y)
    < float[N,7] a
    >
    {
      a = com.microsoft.Unknown(x)             # float[N,7]
      b = Relu(x)                              # float[N]
      c = com.microsoft.Unknown(a, b)
      y = Relu(c)                              # float[]
    }
    "#);
}

#[test]
fn wide_interfaces_take_several_lines() {
    let inputs: Vec<String> = (0..9).map(|i| format!("float[batch,sequence] input_{i}")).collect();
    let text = again(&format!("g ({}) => (float[batch,sequence] y) {{ y = Relu(input_3) }}", inputs.join(", ")));
    insta::assert_snapshot!(text, @r#"
    <ir_version: 10, opset_import: ["": 21]>
    g (
      float[batch,sequence] input_0,
      float[batch,sequence] input_1,
      float[batch,sequence] input_2,
      float[batch,sequence] input_3,
      float[batch,sequence] input_4,
      float[batch,sequence] input_5,
      float[batch,sequence] input_6,
      float[batch,sequence] input_7,
      float[batch,sequence] input_8
    ) => (
      float[batch,sequence] y
    )
    {
      y = Relu(input_3)                        # float[batch,sequence]
    }
    "#);
}

#[test]
fn a_weight_without_data_is_filled_wherever_it_stands() {
    let model = parse(
        "g (float[300] x = {}) => (float[300] y) <float[300] w, int8[300] unread> {
            s = Add(x, w)
            k = Constant <value = float[300] {}> ()
            y = Add(s, k)
        }",
    )
    .unwrap();
    let g = &model.graph;
    let default = g.value(g.scope(ScopeId::MAIN).inputs()[0]).default().expect("filled");
    assert_eq!((default.dtype(), default.dims()), (DType::F32, &[300][..]));
    let w = g.values().find(|&v| &*g.value(v).name == "w").and_then(|v| g.constant(v)).expect("filled");
    assert!(w.uniform().is_none());
    assert!(g.values().all(|v| &*g.value(v).name != "unread"));
}

#[test]
fn messages_name_the_place_and_what_is_expected() {
    let cases = [
        "",
        "g",
        "g (float[2] x) => (float[2] y) { y = Relu(x",
        "g (float[2] x) => (float[2] y) {\n  y = Relu x\n}",
        "g (float[2] x) => (float[2] y) {\n  y Relu(x)\n}",
        "g (float[2] x) = (float[2] y) { }",
        "g (flot[2] x) => (float[2] y) { }",
        "g (float[2] x) => (y) <float[2] w = {1}> { y = Add(x, w) }",
        "g (float[2] x) => (y) <float[2] w = {1, a}> { y = Add(x, w) }",
        "g (float[2] x) => (y) <float[N] w> { y = Add(x, w) }",
        "g (float[2] x) => (y) <int8[1] w = {200}> { y = Add(x, w) }",
        "g (float[2] x) => (y) <float16[1] w = {1.5}> { y = Add(x, w) }",
        "g (float[2] x) => (y) <float[99999,99999] w> { y = Add(x, w) }",
        "g (float[2] x) => (y) { y = Op <a: integer = 1> (x) }",
        "g (float[2] x) => (y) { y = Op <a: int = 1.5> (x) }",
        "g (float[2] x) => (y) { y = Op <a = []> (x) }",
        "g (float[2] x) => (y) { y = Op <a = [1, 2.5]> (x) }",
        "g (float[2] x) => (y) { y = Op <a = 99999999999999999999> (x) }",
        "g (float[2] x) => (y) { y = Op <a = 1e99> (x) }",
        "<ir_version: 8, colour: 3> g () => () { }",
        "g (float[2] x) => (float[2] y) { y = Relu(z) }",
    ];
    let messages: Vec<String> = cases.iter().map(|text| error(text)).collect();
    insta::assert_snapshot!(messages.join("\n"), @r#"
    line 1, column 1: expected the graph's name, found the end of the text
    line 1, column 2: expected `(`, found the end of the text
    line 1, column 44: expected `,` or `)`, found the end of the text
    line 2, column 12: expected `(` and the operands, found `x`
    line 2, column 5: expected `,` or `=`, found `Relu`
    line 1, column 16: expected `=>`, found `=`
    line 1, column 8: expected `,` or `)`, found `[`
    line 1, column 24: float[2] has 2 elements, found 1
    line 1, column 41: expected a number, found `a`
    line 1, column 24: a weight needs a number for every size
    line 1, column 37: 200 is not between -128 and 127, as int8 asks
    line 1, column 40: expected the bits of a float16 as a whole number, found `1.5`
    line 1, column 24: weights without data may take 268435456 bytes
    line 1, column 36: expected a type of attributes, found `integer`
    line 1, column 42: expected int, found float
    line 1, column 37: an empty list needs its type: `name: ints = []`
    line 1, column 41: the elements of this list are of type int
    line 1, column 37: 99999999999999999999 does not fit a 64-bit integer
    line 1, column 37: 1e99 is too large for the element type
    line 1, column 17: a model has no field `colour`
    Relu "y" reads "z", which nothing defines
    "#);
}

#[test]
fn nesting_is_bounded() {
    let deep = |n: usize| format!("g ({}float{} x) => () {{ }}", "seq(".repeat(n), ")".repeat(n));
    assert!(error(&deep(100_000)).contains("nested deeper than 64 levels"));
    let body = |n: usize| {
        let open = "y = If(c) <then_branch = b () => (float y) { ".repeat(n);
        format!("g (bool c) => (float y) {{ {open} y = Op() {} }}", "}>".repeat(n))
    };
    assert!(error(&body(100_000)).contains("nested deeper than 64 levels"));
    assert!(parse(&body(20)).is_ok());
}

#[test]
fn no_cut_of_a_text_panics() {
    let text = r#"<ir_version: 8, opset_import: ["": 18]> "é" (float[N,?] x = {1e3}, seq(int4[2]) s) => (float y)
        <float[2] w = {-inf, nan}> # comment
        { [n] y, , z = a.b.Op:o <g = b () => () { }, l = [@r], t = int4[3] {1, -2, 3}> (x, "") }
        <domain: "d", overload: "o"> f <a, b: float = 1> (x) => (float y) { }"#;
    for (at, _) in text.char_indices() {
        let _ = parse(&text[..at]);
        let _ = parse(&text[at..]);
        for insert in ["{", "<", "\"", "-", "[", ",", "9"] {
            let _ = parse(&format!("{}{insert}{}", &text[..at], &text[at..]));
        }
    }
}
