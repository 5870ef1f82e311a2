//! Which rights an account has: the rules of the settings, applied to its claims.

use runlog_model::WorkspaceId;
use runlog_model::workspaces::{Rights, Workspace};
use serde_json::{Map, Value};

use crate::auth::oidc::settings::{AccessRule, OidcSettings};

/// The claims of an account.
pub(crate) type Claims = Map<String, Value>;

/// The rights of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Access {
    pub(crate) administrator: bool,
    pub(crate) rights: Vec<(WorkspaceId, Rights)>,
}

/// The rights of an account by all rules that match; none if no rule does.
pub(crate) fn access(rules: &[AccessRule], claims: &Claims, workspaces: &[Workspace]) -> Option<Access> {
    let matching: Vec<&AccessRule> = rules.iter().filter(|rule| matches(rule, claims)).collect();
    if matching.is_empty() {
        return None;
    }
    let granted = |workspace: &Workspace| {
        let rules = matching.iter().filter(|rule| is_granted_in(rule, workspace));
        let rights: Rights = rules.flat_map(|rule| rule.rights.iter().copied()).collect();
        (workspace.id, rights)
    };
    Some(Access {
        administrator: matching.iter().any(|rule| rule.administrator),
        rights: workspaces.iter().map(granted).filter(|(_, rights)| *rights != Rights::NONE).collect(),
    })
}

/// The name of the user of an account.
pub(crate) fn user_name(settings: &OidcSettings, claims: &Claims) -> Option<String> {
    let text = |name: &str| claim_texts(claims, name).first().map(|text| text.trim().to_owned());
    let found = match &settings.name_claim {
        Some(claim) => text(claim),
        None => {
            ["preferred_username", "email", "sub"].into_iter().find_map(|name| text(name).filter(|it| !it.is_empty()))
        }
    };
    found.filter(|name| !name.is_empty()).map(|name| name.chars().filter(|c| !c.is_control()).take(100).collect())
}

fn matches(rule: &AccessRule, claims: &Claims) -> bool {
    let texts = claim_texts(claims, &rule.claim);
    texts.iter().any(|text| rule.values.iter().any(|value| value == "*" || value == text))
}

/// The texts of a claim. An e-mail address of which the provider does not say that it has verified it counts as absent:
/// anybody could have entered it.
fn claim_texts<'a>(claims: &'a Claims, name: &str) -> Vec<&'a str> {
    let is_verified = claims.get("email_verified").is_some_and(|it| *it == Value::Bool(true) || it == "true");
    if name == "email" && !is_verified {
        return Vec::new();
    }
    match claim(claims, name) {
        Some(Value::String(text)) => vec![text],
        Some(Value::Array(values)) => values.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

/// A claim by its name, which may be a URL with dots, or by the names on the way to it.
fn claim<'a>(claims: &'a Claims, name: &str) -> Option<&'a Value> {
    if let Some(found) = claims.get(name) {
        return Some(found);
    }
    let mut names = name.split('.');
    let first = claims.get(names.next()?)?;
    names.try_fold(first, |value, name| value.get(name))
}

fn is_granted_in(rule: &AccessRule, workspace: &Workspace) -> bool {
    let environment = &workspace.environment;
    let is_environment = rule.environments.is_empty()
        || rule.environments.iter().any(|it| *it == environment.name || *it == environment.id.to_string());
    let names = |it: &String| it == "*" || *it == workspace.name || *it == workspace.id.to_string();
    is_environment && rule.workspaces.iter().any(names)
}

#[cfg(test)]
mod tests {
    use runlog_model::EnvironmentId;
    use runlog_model::workspaces::{Environment, Right};
    use serde_json::json;

    use super::*;

    fn claims(value: Value) -> Claims {
        value.as_object().unwrap().clone()
    }

    fn workspace(number: u8, environment: &str, name: &str) -> Workspace {
        let id = |digit: u8| format!("{digit:024x}");
        let environment_id: EnvironmentId = id(number / 10).parse().unwrap();
        let environment =
            Environment { id: environment_id, name: environment.to_owned(), description: None, is_default: false };
        Workspace {
            id: id(number).parse().unwrap(),
            environment,
            name: name.to_owned(),
            description: None,
            owner: String::new(),
        }
    }

    fn rule(value: &str, workspaces: &[&str], rights: &[Right]) -> AccessRule {
        AccessRule {
            claim: "groups".to_owned(),
            values: vec![value.to_owned()],
            workspaces: workspaces.iter().map(|it| (*it).to_owned()).collect(),
            rights: rights.to_vec(),
            ..AccessRule::default()
        }
    }

    #[test]
    fn an_account_has_the_rights_of_every_rule_that_matches() {
        let places =
            [workspace(11, "production", "sales"), workspace(12, "production", "hr"), workspace(21, "test", "sales")];
        let mut in_test = rule("everyone", &["*"], &[Right::View]);
        in_test.environments = vec!["test".to_owned()];
        let rules = [
            rule("oncall", &["sales"], &[Right::View, Right::Author]),
            rule("deploy", &["sales"], &[Right::Publish]),
            in_test,
        ];
        let rights = |groups: Value| access(&rules, &claims(json!({ "groups": groups })), &places);

        let both = rights(json!(["oncall", "deploy"])).unwrap();
        let all: Rights = [Right::View, Right::Author, Right::Publish].into_iter().collect();
        assert_eq!(both.rights, [(places[0].id, all), (places[2].id, all)]);
        assert!(!both.administrator);
        assert_eq!(rights(json!("everyone")).unwrap().rights, [(places[2].id, [Right::View].into_iter().collect())]);
        // No rule: no access, and not merely no rights.
        assert_eq!(rights(json!(["guests"])), None);
        assert_eq!(rights(json!({ "oncall": true })), None);
        assert_eq!(access(&rules, &claims(json!({})), &places), None);
    }

    #[test]
    fn a_claim_may_be_inside_others_or_have_dots_in_its_name() {
        let found = claims(json!({
            "realm_access": { "roles": ["admin"] }, "https://example.com/groups": ["a"], "email": "a@b.c", "email_verified": false,
        }));
        assert_eq!(claim_texts(&found, "realm_access.roles"), ["admin"]);
        assert_eq!(claim_texts(&found, "https://example.com/groups"), ["a"]);
        assert!(claim_texts(&found, "realm_access.none").is_empty());
        assert!(claim_texts(&found, "email").is_empty(), "an address that is not verified");
        assert!(claim_texts(&claims(json!({ "email": "a@b.c" })), "email").is_empty(), "the provider does not say");
        assert_eq!(claim_texts(&claims(json!({ "email": "a@b.c", "email_verified": true })), "email"), ["a@b.c"]);
    }
}
