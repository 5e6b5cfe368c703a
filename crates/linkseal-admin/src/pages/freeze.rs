//! The banner about a freeze of all orders, on every page on which visitors wait for a certificate.

use maud::{Markup, html};

use super::visitor::Visitor;
use crate::context::Context;
use crate::i18n;
use crate::problem::Problem;
use crate::view::FreezeView;

/// The banner; an empty element without a freeze, so that the script can fill it in when one begins
/// while the page is open.
pub(super) async fn banner(context: &Context, visitor: &Visitor) -> Result<Markup, Problem> {
    let freeze = context.control.operator().frozen().await?;
    let freeze = freeze.as_ref().map(|freeze| FreezeView::of(freeze, &visitor.scope));
    Ok(html! {
        div.banner #freeze data-part {
            @if let Some(freeze) = freeze {
                p.alert.note role="status" {
                    (visitor.say("All orders have been frozen since", "Alle Bestellungen sind angehalten seit")) " "
                    (i18n::time(freeze.since, visitor.lang))
                    @if let Some(by) = freeze.by { " " (visitor.say("by", "von")) " " (by) }
                    @if let Some(note) = freeze.note { ": " (note) } @else { "." }
                }
            }
        }
    })
}
