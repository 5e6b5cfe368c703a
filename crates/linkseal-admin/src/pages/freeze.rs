//! The banner that says that all orders are frozen, on every page where a certificate is waited for.

use maud::{Markup, html};

use super::visitor::Visitor;
use crate::context::Context;
use crate::i18n;
use crate::problem::Problem;
use crate::view::FreezeView;

/// The banner; empty while orders go on. Its place is there all the time, so that the script can
/// show a freeze that begins while someone looks.
pub(super) async fn banner(context: &Context, visitor: &Visitor) -> Result<Markup, Problem> {
    let freeze = context.control.frozen().await?;
    let freeze = freeze.as_ref().map(|freeze| FreezeView::of(freeze, &visitor.scope));
    Ok(html! {
        div.banner #freeze data-part {
            @if let Some(freeze) = freeze {
                p.alert.note role="status" {
                    (visitor.say("All orders have been frozen since", "Alle Bestellungen sind angehalten seit")) " "
                    (i18n::time(freeze.since))
                    @if let Some(by) = freeze.by { " " (visitor.say("by", "von")) " " (by) }
                    @if let Some(note) = freeze.note { ": " (note) } @else { "." }
                }
            }
        }
    })
}
