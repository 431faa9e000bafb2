//! The coordinator's program: makes a new installation, or serves one.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use holdfast_coordinator::app;
use holdfast_coordinator::config::Config;
use holdfast_coordinator::init::{InitOptions, UsageError, init};
use holdfast_telemetry::Telemetry;

/// Threads that serve requests. The coordinator decides; it moves no data.
const WORKER_THREADS: usize = 2;
/// Threads for files.
const BLOCKING_THREADS: usize = 8;
/// How long the last traces may take on their way out.
const TELEMETRY_DEADLINE: Duration = Duration::from_secs(5);

const EXIT_CODES: &str = "Exit codes: 0 done, 1 failed, 2 usage (arguments or configuration), \
                          3 refused (another coordinator has the state, or a newer one wrote it)";

#[derive(Parser)]
#[command(name = "holdfast-coordinator", version, about, after_help = EXIT_CODES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make a new installation: authority, certificate, master key, first operator. Touches nothing that exists.
    Init {
        /// The folder for all of it.
        #[arg(long)]
        dir: PathBuf,
        /// What agents and operators dial, as HOST:PORT.
        #[arg(long)]
        address: String,
        /// What to listen on, as IP:PORT. Without it, every interface at the port of --address.
        #[arg(long)]
        listen: Option<String>,
        /// Name of the first operator, who may do everything.
        #[arg(long, default_value = "admin")]
        operator: String,
    },
    /// Serve agents and operators until SIGTERM or SIGINT.
    Serve {
        /// The configuration that `init` made.
        #[arg(long)]
        config: PathBuf,
    },
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Init {
            dir,
            address,
            listen,
            operator,
        } => {
            let listen = listen.unwrap_or_else(|| default_listen(&address));
            run_init(&InitOptions {
                dir,
                address,
                listen,
                operator,
            })
        }
        Command::Serve { config } => serve(&config),
    }
}

/// A loopback address is meant for this machine alone; any other name for everybody.
fn default_listen(address: &str) -> String {
    if address
        .parse::<std::net::SocketAddr>()
        .is_ok_and(|at| at.ip().is_loopback())
    {
        return address.to_owned();
    }
    let port = address.rsplit_once(':').map_or("7600", |(_, port)| port);
    format!("0.0.0.0:{port}")
}

fn run_init(options: &InitOptions) -> ExitCode {
    match init(options) {
        Ok(report) => {
            print!("{report}");
            if report.made.is_empty() {
                println!("everything was there already; nothing was changed");
            } else {
                let dir = options.dir.display();
                println!("next: holdfast-coordinator serve --config {dir}/coordinator.toml");
                println!("      export HOLDFAST_CONFIG={dir}/operator/ctl.toml");
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            let usage = error.is::<UsageError>();
            ExitCode::from(if usage {
                app::EXIT_USAGE
            } else {
                app::EXIT_FAILED
            })
        }
    }
}

fn serve(path: &std::path::Path) -> ExitCode {
    let config = match Config::load(path) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::from(app::EXIT_USAGE);
        }
    };
    let folder = path.parent().map(PathBuf::from).unwrap_or_default();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKER_THREADS)
        .max_blocking_threads(BLOCKING_THREADS)
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: cannot start: {error}");
            return ExitCode::from(app::EXIT_FAILED);
        }
    };
    runtime.block_on(async {
        let telemetry = match Telemetry::init("holdfast-coordinator", config.log_format(), "info") {
            Ok(telemetry) => telemetry,
            Err(error) => {
                eprintln!("error: {error}");
                return ExitCode::from(app::EXIT_USAGE);
            }
        };
        let outcome = app::serve(config, &folder, app::shutdown_signal()).await;
        let code = match outcome {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("error: {error}");
                ExitCode::from(error.exit_code())
            }
        };
        telemetry.shutdown(TELEMETRY_DEADLINE).await;
        code
    })
}
