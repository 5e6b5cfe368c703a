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
fn the_environment_overrides_the_file_also_if_one_of_them_has_the_old_name() {
    for (old, value, new) in RENAMED {
        for (file, set) in [(old, new), (new, old)] {
            // Another value of the same kind.
            let other = value.replace(|c: char| c.is_ascii_digit(), "1");
            let config = load(&with_key(file, &other), &[(&variable(set), value)]).unwrap();
            assert_eq!(value_of(&config, new), value, "{file} in the file");
            let warnings = config.warnings.iter().map(Problem::to_string);
            let warnings: Vec<_> = warnings.filter(|w| w.contains("was renamed")).collect();
            assert_eq!(warnings.len(), 1, "{warnings:?}");
            let unused = format!(
                "{old}: was renamed to {new}, which {} sets; this value is not used",
                variable(new)
            );
            assert_eq!(warnings[0].contains(&unused), file == old, "{warnings:?}");
        }
    }
}

#[test]
fn the_old_and_the_new_name_of_a_key_exclude_each_other_in_one_place() {
    for (old, value, new) in RENAMED {
        let error = load(SHORTEST, &[(&variable(old), value), (&variable(new), value)]).unwrap_err();
        let message = format!(
            "environment variable {}: {old}: is the old name of {new}, which is set too; remove {old}",
            variable(old)
        );
        assert!(error.contains(&message), "{error}");
    }
    let both = SHORTEST.replace("[acme]", "probe = \"1h\"\nprobe_interval = \"1h\"\n[acme]");
    let error = load(&both, &[]).unwrap_err();
    assert!(
        error.contains("dir/linkseal.toml:3: edge.probe: is the old name"),
        "{error}"
    );
}

#[test]
fn an_error_names_a_renamed_key_as_it_is_spelled_and_comes_with_the_warning() {
    for (value, message) in [("soon", "must be a duration"), ("1m", "must be at least 10m")] {
        let text = format!("{SHORTEST}[dns]\nrecheck = \"{value}\"\n");
        let error = Config::parse(Path::new("dir/linkseal.toml"), &text, &[]).unwrap_err();
        let problem = error.to_string();
        assert!(
            problem.starts_with(&format!("dir/linkseal.toml:6: dns.recheck: {message}")),
            "{problem}"
        );
        let warnings: Vec<_> = error.warnings.iter().map(Problem::to_string).collect();
        assert_eq!(
            warnings,
            [
                "dir/linkseal.toml:6: dns.recheck: was renamed to dns.recheck_interval; the old name works until the next release"
            ]
        );
    }
}
