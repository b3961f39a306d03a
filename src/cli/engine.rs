//! Engines and plans as the command line names them.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

#[cfg(feature = "ort")]
use anyhow::Context as _;

use crate::cli::shared::{Engine, Proving};
use crate::exec::{Bounded, Data, Executor, Plan};

/// The engine, if it is built in and can be found.
pub(super) fn executor(engine: Engine) -> anyhow::Result<Arc<dyn Executor>> {
    match engine {
        #[cfg(feature = "tract")]
        Engine::Tract => Ok(Arc::new(crate::exec::tract::Tract)),
        #[cfg(not(feature = "tract"))]
        Engine::Tract => Err(anyhow::anyhow!("tract is not built in: build with --features tract")),
        #[cfg(feature = "ort")]
        Engine::Ort => onnxruntime(),
        #[cfg(not(feature = "ort"))]
        Engine::Ort => Err(anyhow::anyhow!("onnxruntime is not built in: build with --features ort")),
    }
}

/// The engine for runs on samples, which are made without asking first how much memory they take.
pub(super) fn bounded(proof: &Proving) -> anyhow::Result<Arc<dyn Executor>> {
    Ok(Arc::new(Bounded::new(executor(proof.engine)?, proof.check_memory)))
}

/// onnxruntime from the library that the environment names.
#[cfg(feature = "ort")]
fn onnxruntime() -> anyhow::Result<Arc<dyn Executor>> {
    use crate::exec::ort::{Level, Ort};
    let Some(library) = std::env::var_os("ORT_DYLIB_PATH") else {
        return Err(anyhow::anyhow!("ORT_DYLIB_PATH is to name the file of an onnxruntime library"));
    };
    let ort = Ort::load(&library, Level::AsWritten).with_context(|| library.display().to_string())?;
    Ok(Arc::new(ort))
}

/// What to run: inputs from `data`, or made up ones.
pub(super) fn plan(data: Option<&Path>, budget: Duration, memory: u64) -> anyhow::Result<Plan> {
    let data = data.map(Data::open).transpose()?;
    Ok(Plan { data, budget, memory, ..Plan::default() })
}
