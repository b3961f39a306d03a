//! Recipes on the command line: what one says becomes options, and options become one.

use std::ffi::{OsStr, OsString};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command, CommandFactory, FromArgMatches, Parser};

use crate::cli::args::{Cli, Optimize, OptimizeVerb, Verb};
use crate::cli::usage;
use crate::onnx;
use crate::recipe::{Entry, Form, KEYS, Key, Recipe, RecipeError, Value};

/// A command line with what its recipe says, and the recipe that all of it makes.
pub(super) struct Merged {
    /// The options of both.
    pub args: Box<Optimize>,
    /// Where to write what was asked for.
    pub save: Option<(PathBuf, Recipe)>,
}

/// `args`, which were read from `line`, with what the recipe says that they name. What the command line says itself
/// counts.
///
/// # Errors
/// For a recipe that cannot be read, and for values that are none of their options.
pub(super) fn merged(args: Box<Optimize>, line: &[OsString]) -> anyhow::Result<Merged> {
    if args.recipe.is_none() && args.save_recipe.is_none() {
        return Ok(Merged { args, save: None });
    }
    let line = match &args.recipe {
        None => line.to_vec(),
        Some(path) => with_recipe(line, path).map_err(|error| usage(args.verb(), error))?,
    };
    let matches = Cli::command().try_get_matches_from(&line)?;
    let cli = Cli::from_arg_matches(&matches)?;
    let (Verb::Optimize(mut new) | Verb::Quantize(mut new) | Verb::Prune(mut new)) = cli.verb else {
        return Ok(Merged { args, save: None });
    };
    new.verb = args.verb;
    let save = match &new.save_recipe {
        None => None,
        Some(path) => Some((path.clone(), recipe_of(&matches, new.verb)?)),
    };
    Ok(Merged { args: new, save })
}

/// The words of `line` with those of the recipe at `path` behind the verb, where nothing else speaks against them.
fn with_recipe(line: &[OsString], path: &Path) -> Result<Vec<OsString>, RecipeError> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let recipe = Recipe::read(path)?.within(folder);
    // It was parsed before.
    let Ok(matches) = Cli::command().try_get_matches_from(line) else { return Ok(line.to_vec()) };
    let Some((verb, said)) = matches.subcommand() else { return Ok(line.to_vec()) };
    let command = Cli::command();
    let Some(verb_command) = command.find_subcommand(verb) else { return Ok(line.to_vec()) };
    let mut words = Vec::new();
    for entry in recipe.entries() {
        check(entry, path)?;
        let mut options = std::iter::once(&entry.key.option).chain(entry.key.rivals);
        let is_said = |option: &&str| argument(verb_command, option).is_some_and(|arg| is_given(said, arg));
        if !options.any(is_said) {
            words.extend(entry.words().into_iter().map(OsString::from));
        }
    }
    let at = line.iter().position(|word| word == OsStr::new(verb)).map_or(line.len(), |at| at + 1);
    let merged = [&line[..at], &words, &line[at..]].concat();
    // What two keys say together is the recipe's, too.
    let whole = |words: &[OsString]| Cli::command().try_get_matches_from(words).err();
    if let Some(error) = whole(&merged) {
        return Err(fault(path, 0, &error));
    }
    Ok(merged)
}

/// Whether the option takes what the recipe says.
fn check(entry: &Entry, path: &Path) -> Result<(), RecipeError> {
    let line = ["onnx-slim", "optimize", "-"].map(String::from).into_iter().chain(entry.words());
    match Cli::try_parse_from(line) {
        Ok(_) => Ok(()),
        Err(error) => Err(fault(path, entry.line, &error)),
    }
}

/// What clap says of a word, said of the recipe.
fn fault(path: &Path, line: usize, error: &clap::Error) -> RecipeError {
    let said = error.to_string();
    let what = said.lines().next().unwrap_or_default().trim_start_matches("error: ");
    // The hints of possible values and of similar ones.
    let more = said.lines().skip(1).map(str::trim).take_while(|line| !line.starts_with("Usage"));
    let more: Vec<&str> = more.filter(|line| !line.is_empty() && !line.starts_with("For more")).collect();
    let what = [&[what], &more[..]].concat().join(" ");
    RecipeError { file: path.display().to_string(), line, what }
}

/// The argument with this long name.
fn argument<'c>(command: &'c Command, option: &str) -> Option<&'c Arg> {
    command.get_arguments().find(|arg| arg.get_long() == Some(option))
}

fn is_given(matches: &ArgMatches, arg: &Arg) -> bool {
    matches.value_source(arg.get_id().as_str()) == Some(ValueSource::CommandLine)
}

/// What `matches` say, as a recipe.
fn recipe_of(matches: &ArgMatches, verb: OptimizeVerb) -> anyhow::Result<Recipe> {
    let mut recipe = Recipe::default();
    let Some((name, said)) = matches.subcommand() else { return Ok(recipe) };
    let command = Cli::command();
    let command = command.find_subcommand(name).context("the verb exists: it was parsed")?;
    for key in KEYS {
        // `--ratio` is another word for `--prune`; other rivals are keys of their own.
        let others = key.rivals.iter().filter(|rival| KEYS.iter().all(|key| key.option != **rival));
        for option in others.chain([&key.option]) {
            let Some(arg) = argument(command, option).filter(|arg| is_given(said, arg)) else { continue };
            let values: Vec<&str> = said
                .get_raw(arg.get_id().as_str())
                .into_iter()
                .flatten()
                .map(|value| {
                    value.to_str().with_context(|| format!("--{option}: a recipe has no bytes that are no text"))
                })
                .collect::<anyhow::Result<_>>()?;
            if let Some(value) = value_of(key, &values) {
                recipe.set(key, value);
            }
        }
    }
    // The verb says it where no option does.
    let has_precision = recipe.entries().iter().any(|entry| entry.key.path() == "precision.default");
    if verb == OptimizeVerb::Quantize && !has_precision {
        recipe = recipe.with("precision.default", "int8");
    }
    Ok(recipe)
}

/// What a recipe says to `key` where an option was given with these values.
fn value_of(key: &Key, values: &[&str]) -> Option<Value> {
    let owned = |values: &[&str]| values.iter().map(|value| value.to_string()).collect::<Vec<_>>();
    Some(match key.form {
        Form::Flag => Value::Flag(true),
        Form::Not => Value::Flag(false),
        Form::Word => Value::Word(values.last()?.to_string()),
        Form::Words => Value::Words(owned(values)),
        Form::Joined => Value::Words(values.iter().flat_map(|value| value.split(',')).map(String::from).collect()),
        Form::Pairs(between) => {
            let pair = |value: &&str| {
                // Names hold colons and equals signs; what is said of them does not.
                let (name, said) = value.rsplit_once(between)?;
                Some((name.to_string(), said.split(',').map(|part| part.trim().to_string()).collect()))
            };
            let mut pairs: Vec<(String, Vec<String>)> = Vec::new();
            for (name, said) in values.iter().filter_map(pair) {
                // A table has each name once, and of two the last counts.
                pairs.retain(|(other, _)| *other != name);
                pairs.push((name, said));
            }
            Value::Pairs(pairs)
        }
    })
}

/// Write a recipe that is to be read from `path`.
///
/// # Errors
/// When it cannot be written.
pub(super) fn save(path: &Path, recipe: Recipe) -> anyhow::Result<()> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let text = recipe.seen_from(folder).to_string();
    onnx::replace(path, |to| to.write_all(text.as_bytes())).with_context(|| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Options that are no part of a recipe: which models, where to, what is printed, and recipes themselves.
    const OUTSIDE: &[&str] = &[
        "output",
        "out-dir",
        "pareto",
        "cache",
        "report",
        "dump-after",
        "save-stats",
        "recipe",
        "save-recipe",
        "verbose",
        "quiet",
        "help",
    ];

    #[test]
    fn every_option_has_a_key_or_is_left_outside() {
        let mut command = Cli::command();
        command.build();
        let command = command.find_subcommand("optimize").unwrap();
        for arg in command.get_arguments() {
            let Some(option) = arg.get_long() else { continue };
            let keys = KEYS.iter().filter(|key| key.option == option).count();
            let others = KEYS.iter().filter(|key| key.rivals.contains(&option)).count();
            let is_outside = OUTSIDE.contains(&option);
            assert!(keys == 1 || keys == 0 && (others == 1 || is_outside), "--{option}: give it a row in recipe::KEYS");
            assert!(!(is_outside && keys + others > 0), "--{option} is both");
        }
        for key in KEYS {
            for option in [key.option].iter().chain(key.rivals) {
                assert!(argument(command, option).is_some(), "{}: there is no --{option}", key.path());
            }
            let is_flag = argument(command, key.option).is_some_and(|arg| !arg.get_action().takes_values());
            assert_eq!(is_flag, matches!(key.form, Form::Flag | Form::Not), "{}", key.path());
        }
    }

    /// The options of a command line with a recipe of this text.
    fn run(text: &str, words: &[&str]) -> anyhow::Result<Merged> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("r.toml");
        std::fs::write(&path, text).unwrap();
        let recipe = format!("--recipe={}", path.display());
        let line: Vec<OsString> =
            ["onnx-slim", "optimize", "m.onnx", &recipe].iter().chain(words).map(|&w| w.into()).collect();
        let Verb::Optimize(args) = Cli::try_parse_from(&line)?.verb else { panic!("it is optimize") };
        merged(args, &line)
    }

    fn saved(text: &str, words: &[&str]) -> String {
        let words = [words, &["--save-recipe=s.toml"]].concat();
        run(text, &words).unwrap().save.unwrap().1.to_string()
    }

    #[test]
    fn the_command_line_counts_where_both_speak() {
        let text = "target = \"tensorrt\"\n[pruning]\nbudget = 0.5\nprotect = [\"a\", \"b\"]\n[check]\nrun = false\n";
        let args = run(text, &[]).unwrap().args;
        assert_eq!((&*args.target, args.proof.no_check, args.pruning.protect.len()), ("tensorrt", true, 2));
        let args = run(text, &["--target=onnx", "--ratio=0.25", "--protect=c", "--check-budget=3"]).unwrap().args;
        assert_eq!((&*args.target, args.proof.no_check, args.pruning.prune), ("onnx", false, None));
        assert_eq!((args.pruning.ratio, args.pruning.protect), (Some(0.25), vec!["c".to_string()]));
    }

    #[test]
    fn values_are_what_their_options_take() {
        let wrong = |text: &str| run(text, &[]).err().unwrap().to_string().rsplit_once("r.toml").unwrap().1.to_string();
        assert!(wrong("\ntarget = \"tensort\"").starts_with(":2: invalid value 'tensort' for '--target <TARGET>'"));
        assert!(wrong("\ntarget = \"tensort\"").contains("'tensorrt'"));
        let ratio = wrong("[pruning.layers]\nx = 2");
        assert!(ratio.starts_with(":1: invalid value 'x=2' for '--layer-ratio <PATTERN=RATIO>': expected"), "{ratio}");
        let both = wrong("[files]\nkeep_defaults = true\nfreeze_defaults = true");
        assert!(both.starts_with(": the argument '--freeze-defaults' cannot be used with '--keep-defaults'"), "{both}");
        assert!(wrong("[pruning]\nbuget = 1").starts_with(":2: there is no key"));
    }

    #[test]
    fn what_was_said_is_saved() {
        let words = ["--ratio=0.25", "--layer-ratio=/a=b/*=0.1", "--input-shape=x:0:n,3", "--disable=fuse-gelu"];
        let text = "target = \"tensorrt\"\n[pruning]\nbudget = 0.5\n";
        let expected = "target = \"tensorrt\"\n\n[input_shapes]\n\"x:0\" = [\"n\", 3]\n\n[passes]\ndisable = [\"fuse-gelu\"]\n\n\
            [pruning]\nbudget = 0.25\n\n[pruning.layers]\n\"/a=b/*\" = 0.1\n";
        assert_eq!(saved(text, &words), expected);
        assert_eq!(saved(expected, &[]), expected, "what was saved is saved again as it is");
        assert_eq!(
            saved("", &["--mean=0.5,1", "--scale=1/255"]),
            "[calibration]\nscale = \"1/255\"\nmean = [0.5, 1]\n"
        );
        assert_eq!(saved("", &[]), "");
    }

    #[test]
    fn words_behind_two_dashes_are_models() {
        let merged = run("opset = 17", &["--", "--odd.onnx"]).unwrap().args;
        assert_eq!((merged.opset, merged.inputs.len()), (Some(17), 2));
    }
}
