//! The `larder` program.

use std::process::ExitCode;

use larder_server::config::{Arguments, Command, Loaded, ServeFlags};
use larder_server::preflight;

/// The exit status of a server that cannot start for a reason that the user can remove.
const REFUSED: u8 = 2;

fn main() -> ExitCode {
    let Arguments { command: Command::Serve(flags) } = Arguments::from_process();
    match serve(&flags) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("larder: {error}");
            ExitCode::from(REFUSED)
        }
    }
}

fn serve(flags: &ServeFlags) -> anyhow::Result<()> {
    let loaded = Loaded::load(flags, std::env::vars_os(), &preflight::cores_allowed()?)?;
    for warning in &loaded.warnings {
        eprintln!("larder: warning: {warning}");
    }
    if flags.print_config {
        print!("{}", loaded.to_toml());
        return Ok(());
    }
    if flags.check_config {
        println!("larder: the configuration is OK");
        return Ok(());
    }
    for oddity in preflight::run(&loaded.config)? {
        eprintln!("larder: warning: {oddity}");
    }
    let _listeners = larder_server::listen::listen(loaded.config.listen, loaded.config.shards)?;
    anyhow::bail!("this build serves nothing yet: use --check-config or --print-config")
}
