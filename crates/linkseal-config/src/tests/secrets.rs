//! Files with secrets: read, checked and never printed.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;

#[test]
fn secrets_are_read_with_a_warning_if_others_can_read_the_file() {
    let dir = example_dir();
    let file = dir.path().join("linkseal.toml");
    let token = dir.path().join("ops.token");
    fs::write(&token, "0123456789abcdef0123\n").unwrap();
    fs::set_permissions(&token, fs::Permissions::from_mode(0o644)).unwrap();
    let tokens = |value: &str| ("LINKSEAL_ADMIN__TOKENS".to_owned(), value.to_owned());
    let good = tokens("[{ name = \"ops\", role = \"support\", secret_file = \"ops.token\" }]");
    let config = Config::load_with(&file, &[filled_in(), vec![good.clone()]].concat()).unwrap();
    use secrecy::ExposeSecret;
    assert_eq!(
        config.secrets.admin_tokens[0].token.expose_secret(),
        "0123456789abcdef0123"
    );
    assert_eq!(config.secrets.admin_tokens[0].role, admin::Role::Support);
    let warning = config.warnings.first().unwrap().to_string();
    assert_eq!(
        warning,
        format!(
            "environment variable LINKSEAL_ADMIN__TOKENS: admin.tokens[0].secret_file: {} is accessible beyond its owner and group (mode 644); `chmod 640` it",
            token.display()
        )
    );
    assert!(!format!("{config:?}").contains("0123456789abcdef"));

    fs::write(&token, "short").unwrap();
    let error = Config::load_with(&file, &[filled_in(), vec![good.clone()]].concat())
        .unwrap_err()
        .to_string();
    assert!(
        error.ends_with("must contain a token of at least 16 visible ASCII characters; it contains 5 characters"),
        "{error}"
    );
    assert!(!error.contains("short"));
    // As usual for a service: owned by root, readable for the service's group.
    fs::write(&token, "0123456789abcdef0123\n").unwrap();
    fs::set_permissions(&token, fs::Permissions::from_mode(0o640)).unwrap();
    let config = Config::load_with(&file, &[filled_in(), vec![good]].concat()).unwrap();
    assert_eq!(config.warnings, []);
}

#[test]
fn an_external_account_key_is_read_in_both_base64_alphabets() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("eab.key");
    let key = |text: &str| {
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let eab = format!("{SHORTEST}eab = {{ key_id = \"id\", hmac_key_file = {file:?} }}\n");
        let config = load(&eab, &[]).ok()?;
        let key = config.authorities()[0].eab?.1.to_vec();
        Some(key)
    };
    assert_eq!(key("-_8"), Some(vec![0xfb, 0xff]));
    assert_eq!(key("-_8=\n"), Some(vec![0xfb, 0xff]));
    assert_eq!(key("+/8="), Some(vec![0xfb, 0xff]));
    assert_eq!(key(""), None);
    assert_eq!(key("not base64!"), None);
}

/// A configuration with two tokens and two link keys; the files have these secrets.
fn with_secrets(tokens: [&str; 2], keys: [&str; 2]) -> Result<Vec<String>, String> {
    let dir = tempfile::tempdir().unwrap();
    for (name, secret) in ["a.token", "b.token", "1.key", "2.key"]
        .iter()
        .zip([tokens, keys].concat())
    {
        let file = dir.path().join(name);
        fs::write(&file, secret).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    }
    let text = "[edge]\nname = \"track.platform.internal\"\n[acme]\naccept_terms = true\ncontact = [\"mailto:ops@platform.internal\"]\n\
        [admin]\ntokens = [\n  { name = \"alice\", role = \"viewer\", secret_file = \"a.token\" },\n  \
        { name = \"bob\", role = \"admin\", secret_file = \"b.token\" },\n]\n\
        [links]\nkeys = [{ id = 1, secret_file = \"1.key\" }, { id = 2, secret_file = \"2.key\" }]\n";
    let config = Config::parse(&dir.path().join("linkseal.toml"), text, &[]).map_err(|e| e.to_string())?;
    Ok(config.warnings.iter().map(Problem::to_string).collect())
}

#[test]
fn two_entries_with_one_secret_are_noticed() {
    let (a, b) = ("0123456789abcdef-a", "0123456789abcdef-b");
    let (one, two) = ("0a".repeat(32), "0b".repeat(32));
    assert_eq!(with_secrets([a, b], [&one, &two]), Ok(Vec::new()));
    // The end of the line is not part of a secret.
    let error = with_secrets([a, &format!("{a}\n")], [&one, &two]).unwrap_err();
    assert!(
        error.contains("linkseal.toml:9: admin.tokens[1].secret_file: \"bob\" has the same secret as \"alice\""),
        "{error}"
    );
    assert!(!error.contains(a), "{error}");
    let warnings = with_secrets([a, b], [&one, &one]).unwrap();
    assert!(
        warnings.len() == 1
            && warnings[0].contains("links.keys[1].secret_file: has the same secret as the key with id 1"),
        "{warnings:?}"
    );
}

#[test]
fn a_sealing_key_that_others_can_read_is_warned_of() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("linkseal.toml");
    let key = dir.path().join("linkseal.key");
    fs::write(&key, "0a".repeat(32)).unwrap();
    let warnings = |mode: u32| {
        fs::set_permissions(&key, fs::Permissions::from_mode(mode)).unwrap();
        let config = Config::parse(&file, SHORTEST, &[]).unwrap();
        let warnings = config.warnings.iter().map(Problem::to_string);
        warnings.filter(|w| !w.contains("is empty")).collect::<Vec<_>>()
    };
    assert_eq!(warnings(0o600), Vec::<String>::new());
    assert_eq!(
        warnings(0o666),
        [format!(
            "{}: store.key_file: {} is accessible beyond its owner and group (mode 666); `chmod 640` it",
            file.display(),
            key.display()
        )]
    );
}
