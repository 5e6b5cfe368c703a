//! Mints the three links of one message:
//!
//! ```text
//! cargo run -p linkseal-link --example mint -- link-1.key links.customer.example https://example.com/
//! ```
//!
//! `examples/minting/` at the top of the repository does the same in other languages.

use std::path::Path;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use linkseal_link::{Destination, Kind, LinkKey, Message, Minter, url};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [key_file, domain, destination] = &arguments[..] else {
        eprintln!("usage: mint KEY_FILE DOMAIN DESTINATION");
        return ExitCode::from(64);
    };
    match mint(Path::new(key_file), domain, destination) {
        Ok(links) => {
            links.iter().for_each(|link| println!("{link}"));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn mint(key_file: &Path, domain: &str, destination: &str) -> Result<[String; 3], Box<dyn std::error::Error>> {
    // The last of the edge's `links.keys` mints; here its id is 1. The tenant is the domain's: its own name,
    // unless it was registered with another.
    let minter = Minter::new(&LinkKey::from_file(1, key_file)?, domain);
    #[allow(
        clippy::disallowed_methods,
        reason = "a program of its own, without linkseal's clock"
    )]
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let message = Message {
        id: uuid::Uuid::new_v4(),
        issued_at: u32::try_from(now.as_secs())?,
    };
    let base = format!("https://{domain}");
    Ok([
        url(&base, Kind::Open, &minter.open(&message)),
        url(
            &base,
            Kind::Click,
            &minter.click(&message, 0, &Destination::new(destination)?),
        ),
        url(&base, Kind::Unsubscribe, &minter.unsubscribe(&message, 1)),
    ])
}
