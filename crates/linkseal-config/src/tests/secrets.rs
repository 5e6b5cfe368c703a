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
