//! Who wants which tensor as integers, of which type, and which tensors have one scale.

use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use crate::ir::{NodeId, User, ValueId};
use crate::quantize::place::Placing;
use crate::quantize::place::call::Call;
use crate::quantize::place::follow::Near;
use crate::quantize::{Grid, Readers, Scaling, Site};
use crate::target::Policy;
use crate::target::policy::{IntegerType, Needs, Output, Pairs, Role};

/// Types that will do, best first.
type Types = SmallVec<[usize; 4]>;

/// An operand that is wanted as integers.
#[derive(Clone)]
struct Want {
    node: NodeId,
    slot: usize,
    /// None stands for any.
    types: Option<Types>,
    rule: String,
    /// The class of the result that has the operand's scale.
    with: Option<usize>,
    /// The pair is to stand right before the reader.
    near: bool,
    /// The type that the reader takes less for.
    even: Option<usize>,
}

/// Readers of one tensor that share a pair.
struct Class {
    value: ValueId,
    types: Option<Types>,
    /// Everyone reads it, and those below among them.
    all: bool,
    readers: Vec<(NodeId, usize)>,
    rule: String,
    fixed: Option<Scaling>,
    /// Whether a pair is written for it.
    written: bool,
    /// A reader wants it to stand where it is, not before what makes the tensor.
    near: bool,
    /// The type that every reader takes less for.
    even: Option<usize>,
}

/// What is wanted of every tensor.
pub(super) struct Demand {
    classes: Vec<Class>,
    /// Of each class, one that has its scale; itself at the root.
    parents: Vec<usize>,
}

impl Demand {
    /// Walk from results to operands, and let what is wanted go through those that pass numbers.
    pub(super) fn walk(placing: &mut Placing<'_>) -> Demand {
        let near = Near::of(placing);
        let mut demand = Demand { classes: Vec::new(), parents: Vec::new() };
        let mut wants: FxHashMap<ValueId, Vec<Want>> = FxHashMap::default();
        for &node in &placing.order {
            let Some(call) = placing.integer(node).filter(|c| c.row.role != Role::Passes) else { continue };
            for (slot, value) in placing.operands_of(node, call) {
                let types = Some(call.row.types_of(slot).iter().copied().collect());
                wants.entry(value).or_default().push(Want {
                    node,
                    slot,
                    types,
                    rule: call.row.rule.clone(),
                    with: None,
                    near: call.row.near,
                    even: call.row.even,
                });
            }
        }
        let tails: FxHashMap<ValueId, NodeId> = placing
            .order
            .iter()
            .filter_map(|&n| Some((placing.integer(n).filter(|c| c.row.role != Role::Passes)?.tail, n)))
            .collect();
        for node in placing.order.clone().into_iter().rev() {
            let results: SmallVec<[ValueId; 4]> = placing.graph.results(node).iter().copied().flatten().collect();
            let of_results: Vec<Vec<usize>> = results
                .iter()
                .map(|&value| {
                    let maker = tails.get(&value).filter(|_| !placing.quantized.real.contains_key(&value));
                    let maker = maker.and_then(|&n| placing.integer(n));
                    demand.settle(value, wants.remove(&value).unwrap_or_default(), maker)
                })
                .collect();
            let Some(call) = placing.call(node).filter(|c| c.row.role == Role::Passes).cloned() else { continue };
            let given = near.has_all(placing, node, &call);
            if !demand.passes(placing, &call, &results, &of_results, given) {
                continue;
            }
            if let Some(call) = &mut placing.calls[node.index()] {
                call.on = true;
            }
            demand.pass(placing, node, &call, &results, &of_results, &mut wants);
        }
        // What no node makes: inputs of the model.
        let mut rest: Vec<(ValueId, Vec<Want>)> = wants.into_iter().collect();
        rest.sort_by_key(|(value, _)| *value);
        for (value, wants) in rest {
            demand.settle(value, wants, None);
        }
        demand
    }

    /// Whether integers go through `call`, with these classes of what reads its results.
    fn passes(
        &self,
        placing: &Placing<'_>,
        call: &Call<'_>,
        results: &[ValueId],
        classes: &[Vec<usize>],
        given: bool,
    ) -> bool {
        let is_wanted = classes.iter().any(|classes| !classes.is_empty());
        let needed = match call.row.needs {
            Needs::Readers => is_wanted,
            Needs::Operands => given,
            Needs::Both => is_wanted && given,
            Needs::Either => is_wanted || given,
        };
        if !needed {
            return false;
        }
        // A result that someone reads as it was loses by integers, unless its operand has them anyway.
        let agree = results.iter().zip(classes).all(|(&value, classes)| match classes[..] {
            [] => given || placing.graph.value(value).users().is_empty(),
            [class] => given || self.classes[class].all || self.is_all(placing, class),
            _ => false,
        });
        // With one pair before it, its own readers get what it is given: they may not differ in what they insist on.
        let mut types = allowed(call);
        if !call.row.near && self.is_near(classes) {
            return false;
        }
        for &class in classes.iter().flatten() {
            match both(&types, &self.classes[class].types) {
                Some(common) => types = common,
                None => return false,
            }
            if self.classes[class].fixed.is_some() {
                return false;
            }
        }
        agree
    }

    /// Whether a reader wants a pair of one of these to stand near it.
    fn is_near(&self, classes: &[Vec<usize>]) -> bool {
        classes.iter().flatten().any(|&class| self.classes[class].near)
    }

    /// Whether every user of the tensor is among the readers.
    fn is_all(&self, placing: &Placing<'_>, class: usize) -> bool {
        let class = &self.classes[class];
        let is_reader = |user: &User| match *user {
            User::Node(node, slot) => class.readers.contains(&(node, slot)),
            User::Output(..) => false,
        };
        placing.graph.value(class.value).users().iter().all(is_reader)
    }

    /// Let what is wanted of the results of `node` be wanted of its operands.
    fn pass(
        &mut self,
        placing: &Placing<'_>,
        node: NodeId,
        call: &Call<'_>,
        results: &[ValueId],
        of_results: &[Vec<usize>],
        wants: &mut FxHashMap<ValueId, Vec<Want>>,
    ) {
        let rule = &call.row.rule;
        let mut types = allowed(call);
        for &class in of_results.iter().flatten() {
            types = both(&types, &self.classes[class].types).unwrap_or(types);
        }
        let mut group: Option<usize> = None;
        for (&value, classes) in results.iter().zip(of_results) {
            let class = match classes[..] {
                [class] => class,
                _ if placing.graph.value(value).users().is_empty() => continue,
                _ => self.add(Class {
                    value,
                    types: types.clone(),
                    all: true,
                    readers: Vec::new(),
                    rule: rule.clone(),
                    fixed: None,
                    written: true,
                    near: false,
                    even: None,
                }),
            };
            match call.row.pairs {
                // Whatever else reads it reads what its operand has anyway.
                Pairs::Both => self.classes[class].all = true,
                Pairs::One => self.classes[class].written = false,
            }
            if call.row.shares {
                group = Some(group.map_or(class, |group| self.unite(group, class)));
            }
        }
        let near = self.is_near(of_results);
        let mut evens = of_results.iter().flatten().map(|&class| self.classes[class].even);
        let even = evens.next().flatten().filter(|even| evens.all(|other| other == Some(*even)));
        for (slot, value) in placing.operands_of(node, call) {
            let want = Want { node, slot, types: types.clone(), rule: rule.clone(), with: group, near, even };
            wants.entry(value).or_default().push(want);
        }
    }

    /// Make classes of those who want `value`, which `maker` computes in integers.
    fn settle(&mut self, value: ValueId, wants: Vec<Want>, maker: Option<&Call<'_>>) -> Vec<usize> {
        let mut made: Vec<usize> = Vec::new();
        if let Some(call) = maker.filter(|call| call.row.output == Output::Required) {
            made.push(self.add(Class {
                value,
                types: Some(call.row.types.iter().copied().collect()),
                all: true,
                readers: Vec::new(),
                rule: call.row.rule.clone(),
                fixed: call.row.fixed.map(|(scale, zero_point)| Scaling { scale, zero_point }),
                written: true,
                near: false,
                even: None,
            }));
        }
        for want in wants {
            let takes = |&class: &usize| {
                // What insists on a scale has it for itself.
                (self.classes[class].fixed.is_none() || want.with.is_none())
                    && both(&self.classes[class].types, &want.types).is_some()
            };
            let class = match made.iter().copied().find(takes) {
                Some(class) => class,
                None => {
                    let class = self.add(Class {
                        value,
                        types: want.types.clone(),
                        all: false,
                        readers: Vec::new(),
                        rule: want.rule.clone(),
                        fixed: None,
                        written: true,
                        near: false,
                        even: want.even,
                    });
                    made.push(class);
                    class
                }
            };
            self.classes[class].types = both(&self.classes[class].types, &want.types).unwrap_or_default();
            self.classes[class].readers.push((want.node, want.slot));
            self.classes[class].near |= want.near;
            self.classes[class].even = self.classes[class].even.filter(|even| want.even == Some(*even));
            if let Some(with) = want.with {
                self.unite(class, with);
            }
        }
        made
    }

    fn add(&mut self, class: Class) -> usize {
        self.parents.push(self.classes.len());
        self.classes.push(class);
        self.classes.len() - 1
    }

    fn root(&self, mut class: usize) -> usize {
        while self.parents[class] != class {
            class = self.parents[class];
        }
        class
    }

    /// Give both one scale. Those of no common type keep their own.
    fn unite(&mut self, a: usize, b: usize) -> usize {
        let (a, b) = (self.root(a), self.root(b));
        if a == b {
            return a;
        }
        let Some(types) = both(&self.classes[a].types, &self.classes[b].types) else { return a };
        let (first, second) = (a.min(b), a.max(b));
        self.parents[second] = first;
        self.classes[first].types = types;
        first
    }

    fn grid(&self, policy: &Policy, class: usize) -> Grid {
        let types = self.classes[self.root(class)].types.as_ref();
        let index = types.and_then(|types| types.first().copied()).unwrap_or(0);
        policy.types.get(index).map_or(Grid::I8, integers_of)
    }

    /// The integers of a constant operand of `call`.
    pub(super) fn grid_of(&self, policy: &Policy, call: &Call<'_>) -> Grid {
        let index = call.row.types.first().copied().unwrap_or(0);
        let ty = policy.types.get(index);
        ty.map_or(Grid::U8, integers_of)
    }

    /// The tensors that get integers, in the order of the graph; of one tensor, the pair that everyone reads first.
    pub(super) fn sites(&self, placing: &Placing<'_>) -> Vec<Site> {
        let place: FxHashMap<NodeId, usize> = placing.order.iter().enumerate().map(|(i, &n)| (n, i + 1)).collect();
        let at = |value: ValueId| match placing.graph.producer(value) {
            Some((node, slot)) => (place.get(&node).copied().unwrap_or(0), slot, 0),
            None => (0, 0, value.index()),
        };
        let written = |class: &usize| {
            let class = &self.classes[*class];
            class.written && (class.all || !class.readers.is_empty())
        };
        let mut order: Vec<usize> = (0..self.classes.len()).filter(written).collect();
        order.sort_by_key(|&class| {
            let c = &self.classes[class];
            (at(c.value), !c.all, class)
        });
        let mut numbers: FxHashMap<usize, usize> = FxHashMap::default();
        let mut sites = Vec::with_capacity(order.len());
        for class in order {
            let next = numbers.len();
            let group = *numbers.entry(self.root(class)).or_insert(next);
            let c = &self.classes[class];
            sites.push(Site {
                value: c.value,
                readers: if c.all { Readers::All } else { Readers::Some(c.readers.clone()) },
                grid: self.grid(placing.policy, class),
                group,
                rule: c.rule.clone(),
                fixed: c.fixed,
                near: c.near,
                even: c.even.map(|index| integers_of(placing.policy.type_at(index))),
            });
        }
        sites
    }
}

fn integers_of(ty: &IntegerType) -> Grid {
    Grid { dtype: ty.dtype, symmetric: ty.symmetric }
}

/// The types that a call takes; none stands for any.
fn allowed(call: &Call<'_>) -> Option<Types> {
    (!call.row.types.is_empty()).then(|| call.row.types.iter().copied().collect())
}

/// What is among both, in the order of the first; `None` where nothing is.
fn both(a: &Option<Types>, b: &Option<Types>) -> Option<Option<Types>> {
    match (a, b) {
        (None, other) | (other, None) => Some(other.clone()),
        (Some(a), Some(b)) => {
            let common: Types = a.iter().copied().filter(|t| b.contains(t)).collect();
            (!common.is_empty()).then_some(Some(common))
        }
    }
}
