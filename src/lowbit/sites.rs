//! Which weights of a model can be integers of a few bits, and who reads them.

use std::collections::BTreeMap;

use rustc_hash::{FxHashMap, FxHashSet};

use crate::ir::{Attr, DType, Graph, Key, NodeId, OpKind, ScopeId, Tensor, User, ValueId};
use crate::lowbit::levels::{Group, Integers};
use crate::ops::matmul::{ALPHA, BETA, TRANS_A, TRANS_B};
use crate::ops::slice::AXIS;
use crate::ops::{CallView, normalize_axis};
use crate::target::{FewBits, Form};

const GROUP: Key<i64> = Key::new("group", 1);

/// A weight that can be integers.
#[derive(Clone, Debug)]
pub struct Site {
    /// The constant.
    pub weight: ValueId,
    /// Rows of the matrix that it is: what is computed or looked up.
    pub outputs: usize,
    /// Columns of it: what is summed, or the elements of what is looked up.
    pub columns: usize,
    /// Whether the elements of a row lie one after another.
    pub is_by_output: bool,
    /// Columns that share a scale; all of them where it is as many.
    pub group: usize,
    /// What stands for it.
    pub integers: Integers,
    /// How the target takes them.
    pub row: &'static FewBits,
    /// Who reads it.
    pub readers: Vec<Reader>,
}

/// A call that reads a weight.
#[derive(Clone, Copy, Debug)]
pub struct Reader {
    /// The call.
    pub node: NodeId,
    /// Its operand slot.
    pub slot: usize,
    /// The `Transpose` between the weight and the call.
    pub transpose: Option<NodeId>,
    /// How the integers are written.
    pub form: Form,
}

/// Weights that stay as they are for one reason.
pub type Left = BTreeMap<&'static str, Vec<String>>;

/// Weights of fewer elements are not worth a node of their own.
const LEAST_ELEMENTS: usize = 1024;

/// Rows of fewer columns are as good as scales.
const LEAST_COLUMNS: usize = 16;

/// A call's view of its weight.
struct View {
    slot: usize,
    transpose: Option<NodeId>,
    outputs: usize,
    columns: usize,
    is_by_output: bool,
    /// Why all of an output share a scale where anything does.
    kernel: Option<&'static str>,
}

/// How weights of one kind are to be written.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    /// The integers.
    pub integers: Integers,
    /// How the target takes them.
    pub row: &'static FewBits,
    /// Columns that share a scale, where the target takes so many.
    pub group: Group,
    /// Whether weights of convolutions of more than one element, or in groups, are to be integers, too: with a scale for
    /// each output, and behind a `DequantizeLinear`.
    pub kernels: bool,
}

/// The weights of `graph` that can be integers, in the order in which they are read, and those that cannot. Most are
/// to be as `wish` says; tables that rows are looked up in, and the product that an output is in a model with such a
/// table, as `finer` says. `excluded` calls keep theirs.
pub fn sites(graph: &Graph, wish: Wish, finer: Wish, excluded: &FxHashMap<NodeId, String>) -> (Vec<Site>, Left) {
    let mut left = Left::new();
    let mut found: Vec<(ValueId, Vec<(NodeId, View)>)> = Vec::new();
    let mut of_weight: FxHashMap<ValueId, usize> = FxHashMap::default();
    for node in graph.schedule(ScopeId::MAIN) {
        let Some((weight, view)) = view(graph, node) else { continue };
        let view = if excluded.contains_key(&node) { Err("it was excluded, or not chosen") } else { view };
        match view {
            Ok(view) => {
                let at = *of_weight.entry(weight).or_insert_with(|| {
                    found.push((weight, Vec::new()));
                    found.len() - 1
                });
                found[at].1.push((node, view));
            }
            Err(why) => left.entry(why).or_default().push(graph.label(node)),
        }
    }
    let is_table = |node: NodeId| graph.node(node).op == OpKind::Gather;
    let has_table = found.iter().any(|(_, views)| views.iter().any(|(node, _)| is_table(*node)));
    let is_fine = |node: NodeId| is_table(node) || has_table && is_last(graph, node);
    let mut sites = Vec::with_capacity(found.len());
    for (weight, views) in found {
        let wish = if views.iter().any(|(node, _)| is_fine(*node)) { finer } else { wish };
        match site(graph, weight, &views, wish) {
            Ok(site) => sites.push(site),
            Err(why) => left.entry(why).or_default().extend(views.iter().map(|(node, _)| graph.label(*node))),
        }
    }
    (sites, left)
}

/// A weight with all its readers.
fn site(graph: &Graph, weight: ValueId, views: &[(NodeId, View)], wish: Wish) -> Result<Site, &'static str> {
    const OTHERWISE: &str = "others read its weight too, and want it otherwise";
    let (_, first) = views.first().ok_or(OTHERWISE)?;
    let View { outputs, columns, is_by_output, .. } = *first;
    let mut readers = Vec::with_capacity(views.len());
    let mut may_be_filled = true;
    for (node, view) in views {
        let form = wish.row.form(graph.node(*node).op).ok_or("the target gains nothing there")?;
        takes(&CallView::new(graph, *node), form)?;
        if let Some(why) = view.kernel.filter(|_| !wish.kernels || form != Form::Dequantized || !wish.row.channel) {
            return Err(why);
        }
        may_be_filled &= form == Form::Contrib && view.slot != 0;
        if view.is_by_output != is_by_output {
            return Err(OTHERWISE);
        }
        readers.push(Reader { node: *node, slot: view.slot, transpose: view.transpose, form });
    }
    let read: FxHashSet<User> = readers.iter().map(Reader::user).collect();
    if !graph.value(weight).users().iter().all(|user| read.contains(user)) {
        return Err(OTHERWISE);
    }
    let group = match views.iter().any(|(_, view)| view.kernel.is_some()) {
        true => columns,
        false => group(columns, wish.row, wish.group, may_be_filled)?,
    };
    Ok(Site { weight, outputs, columns, is_by_output, group, integers: wish.integers, row: wish.row, readers })
}

/// Whether what the call computes is an output, but for what is done to each element and to sizes.
fn is_last(graph: &Graph, node: NodeId) -> bool {
    let mut at = graph.result(node, 0);
    // Longer ways are no ways to an output.
    for _ in 0..16 {
        let Some(value) = at else { return false };
        at = match graph.value(value).users() {
            users if users.iter().any(|user| matches!(user, User::Output(..))) => return true,
            [User::Node(next, _)] => {
                let others = graph.operands(*next).flatten().filter(|&operand| operand != value);
                let is_alone = others.into_iter().all(|other| {
                    graph.constant(other).is_some() || matches!(graph.node(*next).op, OpKind::Reshape | OpKind::Expand)
                });
                let is_product =
                    matches!(graph.node(*next).op, OpKind::MatMul | OpKind::Gemm | OpKind::Conv | OpKind::Gather);
                graph.result(*next, 0).filter(|_| is_alone && !is_product)
            }
            _ => return false,
        };
    }
    false
}

/// The constant of real numbers that a call multiplies with or looks up in, and how.
fn view(graph: &Graph, node: NodeId) -> Option<(ValueId, Result<View, &'static str>)> {
    let call = CallView::new(graph, node);
    let slot = match call.node().op {
        OpKind::MatMul | OpKind::Gemm | OpKind::Conv => 1,
        OpKind::Gather => 0,
        _ => return None,
    };
    let read = call.operand(slot)?;
    let (weight, transpose) = match (graph.constant(read), graph.producer(read)) {
        (Some(_), _) => (read, None),
        (None, Some((between, _))) if graph.node(between).op == OpKind::Transpose => {
            (graph.operand(between, 0)?, Some(between))
        }
        _ => return None,
    };
    let tensor = graph.constant(weight).filter(|tensor| tensor.dtype().is_float() && tensor.rank() >= 2)?;
    Some((weight, as_matrix(&call, tensor, slot, transpose)))
}

fn as_matrix(
    call: &CallView<'_>,
    weight: &Tensor,
    slot: usize,
    transpose: Option<NodeId>,
) -> Result<View, &'static str> {
    let graph = call.graph();
    if !matches!(weight.dtype(), DType::F32 | DType::F16 | DType::BF16) {
        return Err("its weight is no float of 16 or 32 bits");
    }
    let [first, second, rest @ ..] = weight.dims() else { return Err("its weight is no matrix") };
    let op = call.node().op;
    if !rest.is_empty() && op != OpKind::Conv {
        return Err("its weight is no matrix");
    }
    let kernel = match op {
        OpKind::Conv if rest.iter().any(|&size| size != 1) => Some("its kernel has more than one element"),
        OpKind::Conv if GROUP.of(call.node()) != 1 => Some("it has groups"),
        _ => None,
    };
    let is_by_output = match op {
        OpKind::Conv => true,
        OpKind::Gather if normalize_axis(AXIS.of(call.node()), 2) != Some(0) => {
            return Err("what it looks up are no rows");
        }
        OpKind::Gather => true,
        OpKind::Gemm => TRANS_B.of(call.node()),
        _ => false,
    };
    if let Some(transpose) = transpose {
        let turns = match graph.node(transpose).attr("perm") {
            Some(Attr::Ints(perm)) => **perm == [1, 0],
            _ => true,
        };
        if !turns || op != OpKind::MatMul && op != OpKind::Gemm {
            return Err("its weight is transposed on the way");
        }
    }
    let is_by_output = is_by_output != transpose.is_some();
    let (outputs, columns) = if is_by_output { (*first, *second) } else { (*second, *first) };
    let columns = columns * rest.iter().product::<usize>();
    if call.constant(if slot == 0 { 1 } else { 0 }).is_some() {
        return Err("what it reads is constant");
    }
    if columns < LEAST_COLUMNS || weight.len() < LEAST_ELEMENTS {
        return Err("its weight is small");
    }
    if weight.is_repeated() {
        return Err(Tensor::REPEATED);
    }
    Ok(View { slot, transpose, outputs, columns, is_by_output, kernel })
}

/// Whether the call can be written in this form.
fn takes(call: &CallView<'_>, form: Form) -> Result<(), &'static str> {
    match (form, call.node().op) {
        (Form::Contrib, OpKind::Gemm) if TRANS_A.of(call.node()) => Err("what it reads is transposed"),
        (Form::Contrib, OpKind::Gemm) if ALPHA.of(call.node()) != 1.0 => Err("its product is scaled"),
        (Form::Contrib, OpKind::Gemm) if call.has(2) && BETA.of(call.node()) != 1.0 => Err("what it adds is scaled"),
        (Form::Contrib, OpKind::MatMul) if call.rank(0).is_none_or(|rank| rank < 2) => {
            Err("what it reads is not known to be a matrix")
        }
        _ => Ok(()),
    }
}

/// Columns that share a scale: of those that the target takes, as many as are wanted or the next more.
fn group(columns: usize, row: &FewBits, wanted: Group, may_be_filled: bool) -> Result<usize, &'static str> {
    let wanted = match wanted {
        Group::Columns(wanted) => wanted,
        Group::Channel if row.channel => return Ok(columns),
        Group::Channel => usize::MAX,
    };
    let Some(&largest) = row.groups.last() else { return Ok(columns) };
    let nearest = row.groups.iter().copied().find(|&group| group >= wanted).unwrap_or(largest);
    if may_be_filled {
        // What a row lacks of its last group is filled up.
        return Ok(row.groups.iter().copied().find(|&group| group >= columns.min(nearest)).unwrap_or(nearest));
    }
    let divides = |group: &&usize| columns.is_multiple_of(**group) && **group <= nearest;
    match row.groups.iter().rev().find(divides) {
        Some(&group) => Ok(group),
        None if row.channel => Ok(columns),
        None => Err("its columns are no multiple of a group that the target takes"),
    }
}

impl Reader {
    /// Who reads the weight itself.
    pub fn user(&self) -> User {
        self.transpose.map_or(User::Node(self.node, self.slot), |transpose| User::Node(transpose, 0))
    }
}
