//! Former names of keys.

use super::*;

/// The old spelling of every renamed key, a value, and the new spelling.
const RENAMED: [(&str, &str, &str); 6] = [
    ("edge.probe", "12h", "edge.probe_interval"),
    ("admission.keep_rejected", "7", "admission.rejected_capacity"),
    ("admission.cname.new_names", "5/1m", "admission.cname.admission_rate"),
    (
        "admission.cname.lookups_at_once",
        "3",
        "admission.cname.max_concurrent_lookups",
    ),
    ("admission.cname.refused_for", "2m", "admission.cname.negative_ttl"),
    ("dns.recheck", "48h", "dns.recheck_interval"),
];

fn variable(key: &str) -> String {
    format!("LINKSEAL_{}", key.replace('.', "__").to_ascii_uppercase())
}

fn value_of(config: &Config, key: &str) -> String {
    let json = serde_json::to_value(config).unwrap();
    let value = json.pointer(&format!("/{}", key.replace('.', "/"))).unwrap();
    value.to_string().trim_matches('"').to_owned()
}

/// [`SHORTEST`] with one more key, of any section.
fn with_key(key: &str, value: &str) -> String {
    let value = value
        .parse::<u32>()
        .map_or_else(|_| format!("\"{value}\""), |n| n.to_string());
    match key.strip_prefix("edge.") {
        Some(key) => SHORTEST.replace("[acme]", &format!("{key} = {value}\n[acme]")),
        None => {
            let (section, key) = key.rsplit_once('.').unwrap();
            format!("{SHORTEST}[{section}]\n{key} = {value}\n")
        }
    }
}

#[test]
fn a_renamed_key_works_with_a_warning_in_file_and_environment() {
    for (old, value, new) in RENAMED {
        let file = load(&with_key(old, value), &[]).unwrap();
        let environment = load(SHORTEST, &[(&variable(old), value)]).unwrap();
        for (config, place) in [
            (file, "dir/linkseal.toml:"),
            (environment, "environment variable LINKSEAL_"),
        ] {
            assert_eq!(value_of(&config, new), value, "{old}");
            let warning = config.warnings.iter().map(Problem::to_string);
            let warning = warning.filter(|w| w.contains(&format!("{old}: was renamed to {new}")));
            let warning: Vec<_> = warning.collect();
            assert_eq!(warning.len(), 1, "{:?}", config.warnings);
            assert!(warning[0].starts_with(place), "{warning:?}");
        }
        // The environment overrides the file under the same name, old or new.
        let both = load(&with_key(old, "1"), &[(&variable(old), value)]);
        assert_eq!(value_of(&both.unwrap(), new), value, "{old}");
    }
}

#[test]
fn the_old_and_the_new_name_of_a_key_exclude_each_other() {
    for (old, value, new) in RENAMED {
        let message = format!("{old}: is the old name of {new}, which is set too; remove {old}");
        for (file, set) in [(old, new), (new, old)] {
            let error = load(&with_key(file, value), &[(&variable(set), value)]).unwrap_err();
            assert!(error.contains(&message), "{error}");
        }
    }
    let both = SHORTEST.replace("[acme]", "probe = \"1h\"\nprobe_interval = \"1h\"\n[acme]");
    let error = load(&both, &[]).unwrap_err();
    assert!(
        error.contains("dir/linkseal.toml:3: edge.probe: is the old name"),
        "{error}"
    );
}
