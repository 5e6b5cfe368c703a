//! Keys that were renamed. The old spelling works for one release, in the file and in the environment, with a
//! warning that names the new one.

use std::path::Path;

use crate::findings::place;
use crate::source::{KeyPath, Node, Problem, Source};

/// The old and the new path of each renamed key.
const RENAMED: [(&str, &str); 6] = [
    ("edge.probe", "edge.probe_interval"),
    ("admission.keep_rejected", "admission.rejected_capacity"),
    ("admission.cname.new_names", "admission.cname.admission_rate"),
    (
        "admission.cname.lookups_at_once",
        "admission.cname.max_concurrent_lookups",
    ),
    ("admission.cname.refused_for", "admission.cname.negative_ttl"),
    ("dns.recheck", "dns.recheck_interval"),
];

/// What came of moving old keys to their new place.
#[derive(Default)]
pub(crate) struct Renamed {
    pub(crate) problems: Vec<Problem>,
    pub(crate) warnings: Vec<Problem>,
    /// The keys that were set by their old name only: old and new.
    moved: Vec<(&'static str, &'static str)>,
}

impl Renamed {
    /// Names keys as they are spelled in the file or the environment.
    pub(crate) fn respell(&self, problems: &mut [Problem]) {
        for problem in problems {
            if let Some((old, _)) = self.moved.iter().find(|(_, new)| problem.key == *new) {
                (*old).clone_into(&mut problem.key);
            }
        }
    }
}

/// Moves the value of every old key to the new one. If both are set, the environment overrides the file; in one
/// of them both are a problem, because it is unclear which was meant.
pub(crate) fn apply(file: &Path, tree: &mut Node) -> Renamed {
    let mut out = Renamed::default();
    for (old, new) in RENAMED {
        let (old_path, new_path) = (KeyPath::parse(old), KeyPath::parse(new));
        let by_new_name = tree.contains(&new_path).then(|| tree.source_of(&new_path));
        let Some(node) = tree.remove(&old_path) else { continue };
        let report = |message| Problem {
            place: place(file, node.source.clone()),
            key: old.to_owned(),
            message,
        };
        match (&by_new_name, &node.source) {
            (Some(Source::Environment(variable)), Source::File(_)) => {
                out.warnings.push(report(format!(
                    "was renamed to {new}, which {variable} sets; this value is not used"
                )));
                continue;
            }
            (Some(Source::File(_)), Source::Environment(_)) | (None, _) => {}
            (Some(_), _) => {
                out.problems.push(report(format!(
                    "is the old name of {new}, which is set too; remove {old}"
                )));
                continue;
            }
        }
        out.warnings.push(report(format!(
            "was renamed to {new}; the old name works until the next release"
        )));
        out.moved.push((old, new));
        // The table that held the old key holds the new one.
        drop(tree.set(&new_path.keys(), node));
    }
    out
}
