//! The example and the schema: complete, and with the defaults of the code.

use super::*;

#[test]
fn the_example_loads_once_the_terms_are_accepted_and_shows_the_defaults() {
    let dir = example_dir();
    let file = dir.path().join("linkseal.toml");
    let unchanged = Config::load_with(&file, &[]).unwrap_err().to_string();
    for left in [
        "edge.name: is an example name",
        "acme.contact[0]: is an example address",
        "acme.accept_terms: must be true",
    ] {
        assert!(unchanged.contains(left), "{unchanged}");
    }
    let config = Config::load_with(&file, &filled_in()).unwrap();
    assert_eq!(config.warnings, []);
    assert_eq!(config.secrets.link_keys[0].secret.as_slice(), [0x0f; 32]);

    let mut defaults = Config::new("track.platform.internal".parse().unwrap());
    defaults.resolve(&Paths { base: dir.path() });
    let (mut shown, mut code) = (
        serde_json::to_value(&config).unwrap(),
        serde_json::to_value(&defaults).unwrap(),
    );
    // What the example shows beyond the defaults.
    for pointer in ["/acme/contact", "/acme/accept_terms", "/links/keys", "/events/sink"] {
        *shown.pointer_mut(pointer).unwrap() = serde_json::Value::Null;
        *code.pointer_mut(pointer).unwrap() = serde_json::Value::Null;
    }
    assert_eq!(shown, code);
}

#[test]
fn keys_that_the_example_comments_out_can_be_read() {
    let text: String = EXAMPLE
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(key)
                if key.starts_with('[')
                    || key
                        .split(" = ")
                        .next()
                        .is_some_and(|k| k.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'))
                        && key.contains(" = ") =>
            {
                key
            }
            _ => line,
        })
        .map(|line| format!("{line}\n"))
        .collect();
    assert!(text.contains("\n[[upstream]]"), "{text}");
    // Every key is valid; only the files that are named do not exist.
    let filled_in = filled_in();
    let filled_in: Vec<_> = filled_in.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    let error = load(&text, &filled_in).unwrap_err();
    for line in error.lines() {
        assert!(line.contains("cannot be read"), "{line}");
    }
}

#[test]
fn the_schema_describes_every_key() {
    let schema = Config::schema();
    let text = schema.to_string();
    fn keys(table: &toml::Table, all: &mut Vec<String>) {
        for (key, value) in table {
            all.push(key.clone());
            match value {
                toml::Value::Table(table) => keys(table, all),
                toml::Value::Array(array) => array
                    .iter()
                    .filter_map(toml::Value::as_table)
                    .for_each(|t| keys(t, all)),
                _ => {}
            }
        }
    }
    let mut all = Vec::new();
    keys(&EXAMPLE.parse().unwrap(), &mut all);
    for key in all {
        assert!(text.contains(&format!("\"{key}\":")), "{key}");
    }
    assert_eq!(schema["additionalProperties"], false);
    assert_eq!(schema["required"], serde_json::json!(["edge"]));
    assert_eq!(
        schema.pointer("/$defs/Edge/properties/drain/default"),
        Some(&"30s".into())
    );
    assert_eq!(schema.pointer("/$defs/Edge/properties/node/default"), None);
    for (name, section) in schema["$defs"].as_object().unwrap() {
        for (key, property) in section["properties"].as_object().into_iter().flatten() {
            assert!(property.get("description").is_some(), "{name}.{key} has no description");
        }
    }
}
