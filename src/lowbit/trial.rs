//! What weights would be as integers of few bits, before anything is written: for who chooses among several.

use rustc_hash::FxHashMap;

use crate::choice::Choice;
use crate::ir::{Graph, NodeId, Tensor, ValueId};
use crate::lowbit::codes::{Codes, Matrix, Search};
use crate::lowbit::grid::Grid;
use crate::lowbit::levels::Width;
use crate::lowbit::packer::Packer;
use crate::lowbit::reading::{block, round};
use crate::lowbit::sites::{Site, Wish, sites};

/// The weights of a model that can be integers.
pub(crate) struct Trial {
    sites: Vec<Site>,
    width: Width,
    is_symmetric: bool,
    of_node: FxHashMap<NodeId, usize>,
    left: FxHashMap<String, &'static str>,
}

impl Trial {
    /// What `packer` could make of the weights of these nodes, without samples.
    ///
    /// # Errors
    /// Why nothing, in words.
    pub(crate) fn of(packer: &Packer, graph: &Graph, choice: &Choice) -> Result<Trial, String> {
        let row = packer.row().map_err(|why| why.to_string())?;
        let is_symmetric = packer.symmetric.unwrap_or(packer.integers.is_symmetric());
        if !is_symmetric && !row.zero_points {
            return Err("the target takes weights around zero only".into());
        }
        let excluded = choice.excluded(graph).map_err(|why| why.to_string())?;
        let group = packer.group.unwrap_or(packer.integers.group());
        let wish = Wish { integers: packer.integers, row, group, kernels: packer.kernels };
        let (sites, left) = sites(graph, wish, wish, &excluded);
        let readers = sites.iter().enumerate().flat_map(|(i, site)| site.readers.iter().map(move |r| (r.node, i)));
        let of_node = readers.collect();
        let left = left.into_iter().flat_map(|(why, nodes)| nodes.into_iter().map(move |node| (node, why))).collect();
        Ok(Trial { width: packer.integers.width(), is_symmetric, of_node, left, sites })
    }

    fn site(&self, node: NodeId) -> Option<&Site> {
        self.of_node.get(&node).map(|&site| &self.sites[site])
    }

    /// Why the weight of `node` stays as it is.
    pub(crate) fn refuses(&self, graph: &Graph, node: NodeId) -> Option<String> {
        match self.site(node) {
            Some(_) => None,
            None => Some(self.left.get(&graph.label(node)).copied().unwrap_or("the target gains nothing there").into()),
        }
    }

    /// The weight that `node` reads, and what it would be worth.
    pub(crate) fn rounded(&self, graph: &Graph, node: NodeId) -> Option<(ValueId, Tensor)> {
        let site = self.site(node)?;
        let weight = graph.constant(site.weight)?;
        let matrix = Matrix::of(weight, site.outputs, site.columns, site.is_by_output)?;
        let grid = Grid::of(self.width.bits(), self.is_symmetric, site.row.negative_scales, weight.dtype());
        let codes = Codes::of(&matrix, &grid, site.group, self.width, Search::Refined(None))?;
        let bytes = codes.given_back(&matrix);
        Some((site.weight, Tensor::raw(weight.dtype(), weight.dims(), bytes.into()).ok()?))
    }

    /// Have `to`, `node` or a copy of it, read what a runtime of the target rounds where it multiplies with such a weight
    /// as `node` has.
    pub(crate) fn round_read(&self, graph: &mut Graph, node: NodeId, to: NodeId) {
        let Some(site) = self.site(node) else { return };
        let reader = site.readers.iter().find(|reader| reader.node == node);
        if let Some(block) = reader.and_then(|reader| block(graph, site, reader)) {
            round(graph, to, site.columns, block);
        }
    }

    /// Bytes of the weight that `node` reads, with scales and zero points.
    pub(crate) fn bytes(&self, graph: &Graph, node: NodeId) -> Option<u64> {
        let site = self.site(node)?;
        let scale = graph.constant(site.weight)?.dtype().bits() as u64;
        let (outputs, columns) = (site.outputs as u64, site.columns as u64);
        let groups = outputs * columns.div_ceil(site.group.max(1) as u64);
        let bits = self.width.bits() as u64;
        let zero = if self.is_symmetric { 0 } else { bits };
        Some((outputs * columns * bits + groups * (scale + zero)).div_ceil(8))
    }
}
