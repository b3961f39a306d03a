//! Writes integers of a few bits into a graph, in the place of weights.

use std::sync::Arc;

use rustc_hash::FxHashSet;

use crate::ir::{DType, Graph, NodeId, OpKind, ScopeId, Tensor, TensorError, ValueId};
use crate::lowbit::codes::Codes;
use crate::lowbit::levels::Integers;
use crate::lowbit::reading::is_asked;
use crate::lowbit::sites::{Reader, Site};
use crate::mapped::Files;
use crate::ops::infer_node;
use crate::ops::matmul::TRANS_B;
use crate::quantize::emit::suffixed;
use crate::rewrite::CONTRIB;
use crate::target::Form;

/// Puts integers into a graph.
pub struct Emitter<'m> {
    /// The graph.
    graph: &'m mut Graph,
    /// Where constants of many bytes go.
    files: &'m mut Files,
    /// Names of nodes.
    names: FxHashSet<String>,
}

/// The `accuracy_level` of a `MatMulNBits` that rounds what it reads to 8 bits.
const EIGHT_BITS: i64 = 4;

/// Constants in the place of a weight.
struct Written {
    label: String,
    integers: ValueId,
    scales: ValueId,
    zeros: Option<ValueId>,
    /// Whether rows became columns, or the other way around.
    is_turned: bool,
}

impl<'m> Emitter<'m> {
    /// Puts integers into `graph`, those of many bytes into `files`.
    pub fn new(graph: &'m mut Graph, files: &'m mut Files) -> Emitter<'m> {
        let names = graph.nodes().map(|n| graph.node(n).name.to_string()).collect();
        Emitter { graph, files, names }
    }

    /// Have the readers of a weight read `codes`.
    ///
    /// # Errors
    /// For a tensor that cannot be made, which is a defect.
    pub fn write(&mut self, site: &Site, codes: &Codes) -> Result<(), TensorError> {
        let label = self.graph.value_label(site.weight);
        let Some(weight) = self.graph.constant(site.weight).cloned() else { return Ok(()) };
        let is = |form: Form| move |reader: &&Reader| reader.form == form;
        let mut written = None;
        for reader in site.readers.iter().filter(is(Form::Dequantized)) {
            let written = match &mut written {
                Some(written) => &*written,
                none => none.insert(self.plain(site, codes, &weight, &label)?),
            };
            self.dequantize(site, codes, reader, written);
        }
        // Lookups read the same bytes without an axis of groups.
        let contrib = || site.readers.iter().filter(is(Form::Contrib));
        let is_flat = contrib().all(|reader| self.graph.node(reader.node).op == OpKind::Gather);
        let mut rows = None;
        for reader in site.readers.iter().filter(is(Form::Contrib)) {
            let rows = match &mut rows {
                Some(rows) => &*rows,
                none => none.insert(self.rows(codes, weight.dtype(), &label, is_flat)?),
            };
            match self.graph.node(reader.node).op {
                OpKind::Gather => self.look_up(codes, reader, rows, is_flat)?,
                _ => self.multiply(codes, reader, rows, (weight.dtype(), is_asked(site)))?,
            }
        }
        if self.graph.has_value(site.weight) {
            self.graph.prune_constant(site.weight);
        }
        Ok(())
    }

    fn constant(&mut self, dtype: DType, dims: &[usize], bytes: Vec<u8>, name: &str) -> Result<ValueId, TensorError> {
        let tensor = Tensor::raw(dtype, dims, self.files.keep(bytes))?;
        Ok(self.graph.add_constant(ScopeId::MAIN, name, tensor))
    }

    /// Integers, scales and zero points as `DequantizeLinear` reads them.
    fn plain(&mut self, site: &Site, codes: &Codes, weight: &Tensor, label: &str) -> Result<Written, TensorError> {
        let dtype = site.integers.dtype();
        let is_signed = site.integers != Integers::Uint4;
        let by_output = site.is_by_output || site.row.by_output;
        let is_turned = by_output != site.is_by_output;
        let mut dims = weight.dims().to_vec();
        if is_turned {
            dims.swap(0, 1);
        }
        let bytes = codes.packed(by_output, is_signed);
        let integers = self.constant(dtype, &dims, bytes, &suffixed(label, "quantized"))?;
        dims[usize::from(by_output)] = codes.groups();
        if codes.groups() == 1 {
            dims = vec![codes.outputs];
        }
        let scales = Tensor::rounded(weight.dtype(), &dims, &codes.scales(by_output))?;
        let scales = self.graph.add_constant(ScopeId::MAIN, &suffixed(label, "scale"), scales);
        let zeros = match codes.is_symmetric() && is_signed {
            true => None,
            false => {
                let bytes = codes.packed_zeros(by_output, is_signed);
                Some(self.constant(dtype, &dims, bytes, &suffixed(label, "zero_point"))?)
            }
        };
        Ok(Written { label: label.into(), integers, scales, zeros, is_turned })
    }

    /// Have one call read the integers behind a `DequantizeLinear` of its own.
    fn dequantize(&mut self, site: &Site, codes: &Codes, reader: &Reader, written: &Written) {
        if written.is_turned && self.graph.node(reader.node).op == OpKind::Gemm {
            let turned = reader.transpose.is_none() && !TRANS_B.of(self.graph.node(reader.node));
            self.graph.set_attr(reader.node, "transB", i64::from(turned).into());
        }
        if !self.graph.value(site.weight).users().contains(&reader.user()) {
            // Another call that reads the same Transpose.
            return;
        }
        let by_output = site.is_by_output != written.is_turned;
        let order = self.graph.node(reader.node).order();
        let operands = [Some(written.integers), Some(written.scales), written.zeros];
        let operands = &operands[..if written.zeros.is_some() { 3 } else { 2 }];
        let node = self.graph.add_node(ScopeId::MAIN, OpKind::DequantizeLinear, operands, 1, order);
        // Scales of groups lie along what is summed, those of outputs along the other axis.
        let is_blocked = codes.groups() > 1;
        self.graph.set_attr(node, "axis", i64::from(by_output == is_blocked).into());
        if is_blocked {
            self.graph.set_attr(node, "block_size", i64::try_from(codes.group).unwrap_or(i64::MAX).into());
        }
        let mut read = self.finish(node, &suffixed(&written.label, "DequantizeLinear"));
        if written.is_turned && self.graph.node(reader.node).op != OpKind::Gemm {
            let turn = self.graph.add_node(ScopeId::MAIN, OpKind::Transpose, &[Some(read)], 1, order);
            self.graph.set_attr(turn, "perm", vec![1, 0].into());
            read = self.finish(turn, &suffixed(&written.label, "Transpose"));
        }
        self.graph.replace_use(reader.user(), read);
    }

    /// Integers of rows, scales and zero points as com.microsoft's operators read them, with an axis of groups or without.
    fn rows(&mut self, codes: &Codes, dtype: DType, label: &str, is_flat: bool) -> Result<Written, TensorError> {
        let (groups, bits) = (codes.groups(), codes.width.bits());
        let bytes = codes.packed_groups();
        let each = codes.group * bits / 8;
        let dims: &[usize] = if is_flat { &[codes.outputs, groups * each] } else { &[codes.outputs, groups, each] };
        let integers = self.constant(DType::U8, dims, bytes, &suffixed(label, "quantized"))?;
        let scales = Tensor::rounded(dtype, &[codes.outputs, groups], &codes.scales(true))?;
        let scales = self.graph.add_constant(ScopeId::MAIN, &suffixed(label, "scale"), scales);
        let zeros = match codes.is_symmetric() {
            true => None,
            false => {
                let dims = [codes.outputs, (groups * bits).div_ceil(8)];
                Some(self.constant(DType::U8, &dims, codes.packed_row_zeros(), &suffixed(label, "zero_point"))?)
            }
        };
        Ok(Written { label: label.into(), integers, scales, zeros, is_turned: false })
    }

    /// A call of com.microsoft's `name` in the place of `node`, with what a runtime wants to know of the integers.
    fn contrib(&mut self, node: NodeId, name: &str, operands: &[Option<ValueId>], codes: &Codes) -> NodeId {
        let order = self.graph.node(node).order();
        let last = operands.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
        let call = self.graph.add_node(ScopeId::MAIN, OpKind::Custom, &operands[..last], 1, order);
        let label = self.graph.node(node).name.clone();
        let made = self.graph.node_mut(call);
        made.custom = Some(Arc::new((CONTRIB.into(), name.into())));
        made.name = label;
        for (name, number) in [("bits", codes.width.bits()), ("block_size", codes.group)] {
            self.graph.set_attr(call, name, i64::try_from(number).unwrap_or(i64::MAX).into());
        }
        call
    }

    fn multiply(
        &mut self,
        codes: &Codes,
        reader: &Reader,
        rows: &Written,
        (dtype, rounds): (DType, bool),
    ) -> Result<(), TensorError> {
        let node = reader.node;
        let is_gemm = self.graph.node(node).op == OpKind::Gemm;
        let added = self.graph.operand(node, 2).filter(|_| is_gemm);
        let bias = added.and_then(|added| self.graph.constant(added)?.reals());
        let bias = match bias {
            Some(bias) if bias.len() == 1 => Some(vec![bias[0]; codes.outputs]),
            other => other.filter(|bias| bias.len() == codes.outputs),
        };
        let is_row = added
            .and_then(|added| self.graph.constant(added))
            .is_some_and(|t| t.len() == 1 || t.dims().last() == Some(&codes.outputs));
        let bias = match (bias.filter(|_| is_row), added) {
            (Some(bias), Some(added)) => {
                let name = self.graph.value(added).name.to_string();
                let tensor = Tensor::rounded(dtype, &[codes.outputs], &bias)?;
                Some(self.graph.add_constant(ScopeId::MAIN, &name, tensor))
            }
            _ => None,
        };
        let operands = [self.graph.operand(node, 0), Some(rows.integers), Some(rows.scales), rows.zeros, None, bias];
        let call = self.contrib(node, "MatMulNBits", &operands, codes);
        if rounds {
            self.graph.set_attr(call, "accuracy_level", EIGHT_BITS.into());
        }
        for (name, number) in [("K", codes.columns), ("N", codes.outputs)] {
            self.graph.set_attr(call, name, i64::try_from(number).unwrap_or(i64::MAX).into());
        }
        infer_node(self.graph, call);
        let product = self.graph.result(call, 0).expect("a node that was made with a result has one");
        let result = match added.filter(|_| bias.is_none()) {
            None => product,
            Some(added) => {
                let order = self.graph.node(node).order();
                let sum = self.graph.add_node(ScopeId::MAIN, OpKind::Add, &[Some(product), Some(added)], 1, order);
                self.finish(sum, "")
            }
        };
        self.put(node, result);
        Ok(())
    }

    fn look_up(&mut self, codes: &Codes, reader: &Reader, rows: &Written, is_flat: bool) -> Result<(), TensorError> {
        let node = reader.node;
        let integers = match is_flat {
            true => rows.integers,
            false => {
                let each = i64::try_from(codes.groups() * codes.group * codes.width.bits() / 8).unwrap_or(i64::MAX);
                let dims = Tensor::vector(&[-1, each]);
                let dims = self.graph.add_constant(ScopeId::MAIN, &suffixed(&rows.label, "shape"), dims);
                let order = self.graph.node(node).order();
                let view =
                    self.graph.add_node(ScopeId::MAIN, OpKind::Reshape, &[Some(rows.integers), Some(dims)], 1, order);
                self.finish(view, &suffixed(&rows.label, "Reshape"))
            }
        };
        let operands = [Some(integers), self.graph.operand(node, 1), Some(rows.scales), rows.zeros];
        let call = self.contrib(node, "GatherBlockQuantized", &operands, codes);
        self.graph.set_attr(call, "gather_axis", 0.into());
        self.graph.set_attr(call, "quantize_axis", 1.into());
        let result = self.graph.result(call, 0).expect("a node that was made with a result has one");
        self.put(node, result);
        Ok(())
    }

    /// Have `result` stand for that of `node`, which goes.
    fn put(&mut self, node: NodeId, result: ValueId) {
        if let Some(old) = self.graph.result(node, 0) {
            self.graph.replace(old, result);
        }
        self.graph.prune_dead(node, |_| ());
    }

    fn finish(&mut self, node: NodeId, name: &str) -> ValueId {
        self.graph.node_mut(node).name = self.free_name(name).into();
        infer_node(self.graph, node);
        self.graph.result(node, 0).expect("a node that was made with a result has one")
    }

    /// A name for a node that no other has.
    fn free_name(&mut self, name: &str) -> String {
        let numbered = (1..).map(|n| if n == 1 { name.to_string() } else { format!("{name}_{n}") });
        let mut free = numbered.into_iter().filter(|n: &String| n.is_empty() || self.names.insert(n.clone()));
        free.next().unwrap_or_default()
    }
}
