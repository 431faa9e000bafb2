//! What of a backup's manifest may leave the vault.
//!
//! A manifest keeps the settings of each database so that a restore puts them back. PostgreSQL lets applications define
//! settings of their own (`app.key`; manual, "Customized Options"), and some keep secrets there: their values stay in the
//! vault, whoever reads the manifest for display.

use serde_json::Value;

/// Stands in place of a value that stays in the vault.
pub const WITHHELD: &str = "(in the vault)";

/// `stored` as it may be shown: in every list called `settings`, the `value` of each entry whose `name` has a dot is
/// withheld. Empty when `stored` is no JSON.
#[must_use]
pub fn shown(stored: &str) -> String {
    let Ok(mut manifest) = serde_json::from_str::<Value>(stored) else {
        return String::new();
    };
    withhold(&mut manifest);
    manifest.to_string()
}

fn withhold(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(withhold),
        Value::Object(fields) => {
            if let Some(Value::Array(settings)) = fields.get_mut("settings") {
                settings.iter_mut().for_each(withhold_setting);
            }
            fields.values_mut().for_each(withhold);
        }
        _ => {}
    }
}

fn withhold_setting(setting: &mut Value) {
    let custom = setting["name"]
        .as_str()
        .is_some_and(|name| name.contains('.'));
    if custom && let Some(value) = setting.get_mut("value") {
        *value = WITHHELD.into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_of_applications_keep_their_names_and_lose_their_values() {
        let stored = r#"{"databases":[{"name":"a.b","settings":[{"role":null,"name":"app.key","value":"hush"},{"role":"r","name":"work_mem","value":"8MB"}]}],"value":"kept"}"#;
        let expected = stored.replace("hush", WITHHELD);
        assert_eq!(shown(stored), expected);
    }

    #[test]
    fn what_is_no_manifest_is_not_shown() {
        assert_eq!(shown("hush"), "");
        assert_eq!(shown(""), "");
        for odd in ["[]", "1", r#"{"settings":[1,{"name":2},{"name":"a.b"}]}"#] {
            assert_eq!(shown(odd), odd);
        }
    }
}
