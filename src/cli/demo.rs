//! `linkseal demo`: a complete edge on loopback, with nothing to install or configure.

use std::path::PathBuf;

use linkseal_config::log::{Levels, Log};

use super::serve::signals;
use super::{Failure, output, whole};
use crate::app::demo::{Demo, DemoInfo};
use crate::telemetry::logs;

/// Run a complete edge on loopback with an in-process ACME CA: nothing to install or configure.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Directory for keys, store and journal. Default: a temporary one, removed at the end.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// The port for HTTP; HTTPS is on +363, the admin API on +1000. Instead of a port in use, the next free one is used.
    #[arg(long, value_name = "PORT", default_value_t = 8080, value_parser = whole::<u16>(0..=64_000))]
    port_base: u16,
    /// Print one line of JSON.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: Args) -> Result<(), Failure> {
    // Warnings and errors only: other lines would separate the commands to paste.
    let quiet = Log {
        level: if args.json {
            Levels::default()
        } else {
            Levels::of_all("warn")
        },
        ..Log::default()
    };
    let (_, _lines) = logs::install(&quiet).map_err(Failure::failed)?;
    let (_temporary, dir) = match args.dir {
        Some(dir) => (None, dir),
        None => {
            let temporary = tempfile::tempdir().map_err(Failure::failed)?;
            let dir = temporary.path().to_owned();
            (Some(temporary), dir)
        }
    };
    let demo = Demo::bind(&dir, args.port_base).await.map_err(|e| Failure::chain(&e))?;
    if args.json {
        output::json(&demo.info)?;
    } else {
        output::text(&for_people(&demo.info))?;
    }
    let (stop, reload) = signals()?;
    let say = |line: &str| {
        if !args.json {
            // The demo keeps running when its output is closed.
            output::line(line).ok();
        }
    };
    Box::pin(demo.run(stop, reload, say))
        .await
        .map_err(|e| Failure::chain(&e))
}

/// A path to this program that works in the current directory, whatever PATH contains.
fn program() -> String {
    let Ok(program) = std::env::current_exe() else {
        return "linkseal".to_owned();
    };
    let here = std::env::current_dir().unwrap_or_default();
    let path = match program.strip_prefix(&here) {
        Ok(below) => PathBuf::from(".").join(below),
        Err(_) => program,
    };
    path.display().to_string()
}

fn for_people(info: &DemoInfo) -> String {
    let ca = info.ca_file.display();
    let name = info.domains.first().map_or("", String::as_str);
    let port = info.https.rsplit(':').next().unwrap_or_default();
    let curl = format!("curl --cacert {ca} --resolve {name}:{port}:127.0.0.1");
    let mut out = format!(
        "linkseal demo: an edge and an ACME CA on loopback. {name} has no certificate yet.\n\n\
         # the pages, in a browser: sign in with the token {token}\n\
         {admin}/\n\n\
         # its state: unknown, and after the next command issued\n\
         curl -sw '\\n' -H 'Authorization: Bearer {token}' {admin}/v1/domains/{name}\n\n\
         # an open: the handshake obtains the certificate, the answer is a GIF over HTTP/2\n\
         {curl} -sv -o /dev/null {open}\n\n\
         # a click: 302 to the destination\n\
         {curl} -si {click}\n\n\
         # the events, delivered within a second (track.localhost is the edge's own name)\n\
         sleep 1; cat {events}\n\n\
         # the domains, from the command line\n\
         LINKSEAL_ADMIN_TOKEN={token} {program} domain list --admin {admin}\n\n",
        token = info.token,
        program = program(),
        admin = info.admin,
        open = info.open_url,
        click = info.click_url,
        events = info.events.with_file_name("*.ndjson").display(),
    );
    out.push_str(&format!("Domains: {}. Stop with Ctrl-C.\n", info.domains.join(", ")));
    out
}
