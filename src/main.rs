//! The command line.

fn main() -> std::process::ExitCode {
    onnx_slim::cli::main()
}
