//! Which file becomes which: worked out, and refused where it cannot be meant, before anything is read.

use std::collections::BTreeSet;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use crate::cli::precision::Precision;
use crate::cli::source::is_stream;
use crate::cli::{args, dump, usage};

/// One model to optimize.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Job {
    /// A file, or `-`.
    pub input: PathBuf,
    /// A file, or `-`.
    pub output: PathBuf,
}

impl Job {
    /// Whether the result takes the input's place.
    pub(super) fn is_in_place(&self) -> bool {
        !is_stream(&self.input)
            && (self.input == self.output
                || matches!((self.input.canonicalize(), self.output.canonicalize()), (Ok(a), Ok(b)) if a == b))
    }
}

/// The jobs that the command line asks for.
pub(super) fn plan(args: &args::Optimize) -> anyhow::Result<Vec<Job>> {
    if args.output.is_some() && args.inputs.len() > 1 {
        return Err(usage(args.verb(), "-o names one file, but there are several models: use --out-dir"));
    }
    if args.inputs.iter().filter(|i| is_stream(i)).count() > 1 {
        return Err(usage(args.verb(), "standard input holds one model"));
    }
    let mut jobs = Vec::new();
    let mut taken = BTreeSet::new();
    for input in &args.inputs {
        let output = output(input, args)?;
        if !is_stream(&output) && !taken.insert(place(&output)) {
            return Err(usage(args.verb(), format!("two results would be written to {}", output.display())));
        }
        jobs.push(Job { input: input.clone(), output });
    }
    let one_file = args.dump_after.iter().filter_map(|d| d.to.as_deref()).find(|p| !dump::is_folder(p));
    if let (Some(file), true) = (one_file, jobs.len() > 1) {
        return Err(usage(
            args.verb(),
            format!("the texts of several models go into a folder: write {}/", file.display()),
        ));
    }
    one_on_stdout(args, &jobs)?;
    Ok(jobs)
}

fn output(input: &Path, args: &args::Optimize) -> anyhow::Result<PathBuf> {
    if let Some(output) = &args.output {
        return Ok(output.clone());
    }
    if let Some(folder) = &args.out_dir {
        return match input.file_name() {
            Some(name) if !is_stream(input) => Ok(folder.join(name)),
            _ => Err(usage(args.verb(), format!("{} has no file name to use in --out-dir", input.display()))),
        };
    }
    if is_stream(input) {
        return Ok("-".into());
    }
    let is_onnx = input.extension().is_some_and(|e| e == "onnx");
    let mut name = (if is_onnx { input.file_stem() } else { input.file_name() }).unwrap_or_default().to_os_string();
    name.push(match args.verb {
        args::OptimizeVerb::Optimize => ".slim.onnx",
        args::OptimizeVerb::Edit => ".edited.onnx",
        args::OptimizeVerb::Quantize => match args.quantizing.precision {
            Some(Precision::Auto) => ".auto.onnx",
            Some(Precision::Fp16 | Precision::Fp16Weights) => ".fp16.onnx",
            Some(Precision::Bf16) => ".bf16.onnx",
            Some(Precision::Int8Weights) => ".int8.onnx",
            Some(Precision::Int4 | Precision::Uint4) => ".int4.onnx",
            Some(Precision::Int2) => ".int2.onnx",
            Some(Precision::Int8 | Precision::Int8Dynamic) | None => ".int8.onnx",
        },
        args::OptimizeVerb::Prune => ".pruned.onnx",
    });
    Ok(input.with_file_name(name))
}

/// Standard output takes one thing: a model, a report, or the text of a model.
fn one_on_stdout(args: &args::Optimize, jobs: &[Job]) -> anyhow::Result<()> {
    let model = jobs.iter().any(|j| is_stream(&j.output));
    let dump = args.dump_after.iter().any(|d| d.to.is_none());
    let wanted = [(model, "the model"), (args.report.is_some(), "the report"), (dump, "the text of a pass")];
    let wanted: Vec<&str> = wanted.into_iter().filter(|(is, _)| *is).map(|(_, what)| what).collect();
    if wanted.len() > 1 {
        return Err(usage(args.verb(), format!("{} would both go to standard output", wanted.join(" and "))));
    }
    if model && io::stdout().is_terminal() {
        return Err(usage(args.verb(), "a model is not for the terminal: name a file with -o, or pipe it on"));
    }
    Ok(())
}

/// The same text for the same file, as far as that can be told before it exists.
fn place(path: &Path) -> PathBuf {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_path_buf());
    folder.join(path.file_name().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::{Cli, Verb};
    use clap::Parser;

    fn planned(line: &str) -> Result<Vec<(String, String)>, String> {
        let cli = Cli::try_parse_from(format!("onnx-slim optimize {line}").split(' ')).map_err(|e| e.to_string())?;
        let Verb::Optimize(args) = cli.verb else { panic!("another verb") };
        let jobs = plan(&args).map_err(|e| e.to_string())?;
        Ok(jobs.into_iter().map(|j| (j.input.display().to_string(), j.output.display().to_string())).collect())
    }

    #[test]
    fn results_go_where_they_are_told() {
        let pair = |a: &str, b: &str| vec![(a.to_string(), b.to_string())];
        assert_eq!(planned("a/m.onnx").unwrap(), pair("a/m.onnx", "a/m.slim.onnx"));
        assert_eq!(planned("m.v2.pb").unwrap(), pair("m.v2.pb", "m.v2.pb.slim.onnx"));
        assert_eq!(planned("a/m.onnx -o n.onnx").unwrap(), pair("a/m.onnx", "n.onnx"));
        assert_eq!(planned("a/m.onnx b/n.onnx --out-dir c").unwrap()[1], pair("b/n.onnx", "c/n.onnx")[0]);
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for (line, why) in [
            ("a.onnx b.onnx -o c.onnx", "use --out-dir"),
            ("a/m.onnx b/m.onnx --out-dir c", "two results would be written to c/m.onnx"),
            ("a.onnx -o - --report json", "the model and the report would both go to standard output"),
            ("a.onnx --report table --dump-after simplify", "would both go to standard output"),
            ("- --out-dir c", "- has no file name"),
            ("- -", "standard input holds one model"),
            ("a.onnx --no-check --engine tract", "cannot be used with"),
        ] {
            let said = planned(line).unwrap_err();
            assert!(said.contains(why), "{line}: {said}");
        }
    }
}
