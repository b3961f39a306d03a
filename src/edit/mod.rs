//! What a caller asks of a model before it is optimized: another cut of it, other sizes, other names.
//!
//! [`Edits`] say what is wanted, [`Edits::apply`] does it, in one order whatever order it was said in: cut, sizes,
//! what comes before inputs and after outputs, names,
//! remarks. All names are those of the model as it was read. What an edit promises of the result is an
//! [`Edited`] claim, which an engine can be asked to confirm ([`Edited::confirmed`]); that the optimized model computes
//! what the edited one does is the optimizer's own proof.

mod batch;
mod claim;
mod cut;
mod fault;
mod free;
mod join;
mod postprocess;
mod preprocess;
mod rename;
mod sizes;
mod target;
mod tensors;

pub use batch::Batch;
pub use claim::{Claim, Confirmed, Edited};
pub use fault::{Broken, EditFault};
pub use join::{Join, join};
pub use postprocess::{Postprocess, Step};
pub use preprocess::{ImageSize, Preprocess};
pub use rename::Rename;

use crate::interface::Size;
use crate::model::Model;

/// What a file says that no run needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strip {
    /// Documentation, metadata of graphs, nodes and values, and how the model is trained.
    Remarks,
    /// That, and the metadata of the model, which programs may read.
    All,
}

/// What is asked of a model.
#[derive(Clone, Debug, Default)]
pub struct Edits {
    /// The tensors to begin at, in this order; none for the model's own inputs.
    pub inputs: Vec<String>,
    /// The tensors to end at, in this order; none for the model's own outputs.
    pub outputs: Vec<String>,
    /// The sizes of inputs.
    pub shapes: Vec<(String, Vec<Size>)>,
    /// The size of the batch.
    pub batch: Option<Batch>,
    /// What becomes of inputs before the model sees them.
    pub preprocess: Vec<Preprocess>,
    /// What becomes of outputs before the caller sees them.
    pub postprocess: Vec<Postprocess>,
    /// Other names for tensors.
    pub rename: Vec<Rename>,
    /// Other names for nodes.
    pub rename_nodes: Vec<Rename>,
    /// What to take away of what no run needs.
    pub strip: Option<Strip>,
}

impl Edits {
    /// Whether nothing is asked.
    pub fn is_empty(&self) -> bool {
        let Edits { inputs, outputs, shapes, batch, preprocess, postprocess, rename, rename_nodes, strip } = self;
        let nothing = inputs.is_empty() && outputs.is_empty() && shapes.is_empty() && batch.is_none();
        let nothing = nothing && strip.is_none();
        nothing && preprocess.is_empty() && postprocess.is_empty() && rename.is_empty() && rename_nodes.is_empty()
    }

    /// Edit `model` as asked. Says what was done and what it promises.
    ///
    /// # Errors
    /// When something asked for is not there or cannot be. The model is not to be used then.
    pub fn apply(&self, model: &mut Model) -> Result<Vec<Edited>, EditFault> {
        let mut done = Vec::new();
        if !self.inputs.is_empty() || !self.outputs.is_empty() {
            done.push(cut::cut(model, &self.inputs, &self.outputs)?);
        }
        if let Some(batch) = &self.batch {
            done.extend(batch::batch(model, batch)?);
        }
        done.extend(sizes::sizes(model, &self.shapes)?);
        for asked in &self.preprocess {
            preprocess::preprocess(&mut model.graph, asked)?;
        }
        for asked in &self.postprocess {
            postprocess::postprocess(&mut model.graph, asked)?;
        }
        rename::rename(&mut model.graph, &self.rename)?;
        rename::rename_nodes(&mut model.graph, &self.rename_nodes)?;
        if let Some(strip) = self.strip {
            let bytes = model.strip(strip == Strip::All);
            done.push(Edited { what: format!("{bytes} bytes of remarks stripped"), claim: None });
        }
        Ok(done)
    }
}
