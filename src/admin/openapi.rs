//! The description of the API (OpenAPI 3.1), made from the endpoints and the types themselves.

use schemars::generate::SchemaSettings;
use schemars::{Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::endpoint::{Content, Endpoint};
use super::problem::Problem;
use super::scope::Reach;

/// Where the shapes stand in the document.
const SCHEMAS: &str = "/components/schemas";

/// The document.
pub(super) fn document(endpoints: &[Endpoint]) -> Value {
    let settings = SchemaSettings::draft2020_12().with(|s| s.definitions_path = SCHEMAS.into());
    let mut shapes = settings.into_generator();
    let mut paths = Map::new();
    for endpoint in endpoints {
        let methods = paths.entry(endpoint.path).or_insert_with(|| json!({}));
        let method = endpoint.method.as_str().to_ascii_lowercase();
        if let Some(methods) = methods.as_object_mut() {
            methods.insert(method, operation(endpoint, &mut shapes));
        }
    }
    let schemas = shapes.take_definitions(true);
    let mut document = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "linkseal admin API",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Keys are always present, null when empty. Errors are application/problem+json (RFC 9457) with a `code`. Without configured tokens it answers on loopback only, and no token is needed.",
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    });
    speak_json(&mut document);
    document
}

fn operation(endpoint: &Endpoint, shapes: &mut SchemaGenerator) -> Value {
    let mut answers = Map::new();
    for (status, content, when) in &endpoint.answers {
        answers.insert(status.as_u16().to_string(), answer(when, media(content, shapes)));
    }
    let problem = shapes.subschema_for::<Problem>();
    let problem = json!({"application/problem+json": {"schema": problem}});
    // What is foreseen has the endpoint's own words, in the form all refusals have.
    if let Some(limited) = answers.get_mut("429").and_then(Value::as_object_mut) {
        limited.insert("content".to_owned(), problem.clone());
    }
    answers.insert("default".to_owned(), answer("It was not done.", problem));
    let mut parameters = in_path(endpoint.path);
    if let Some(query) = endpoint.query {
        parameters.extend(in_query(&query(shapes)));
    }
    let mut operation = Map::new();
    operation.insert("summary".to_owned(), json!(endpoint.summary));
    operation.insert("parameters".to_owned(), parameters.into());
    if let Some(body) = &endpoint.body {
        let body = json!({"required": endpoint.needs_body, "content": media(body, shapes)});
        operation.insert("requestBody".to_owned(), body);
    }
    operation.insert("responses".to_owned(), answers.into());
    let security = if endpoint.rule.role.is_some() {
        json!([{"token": []}])
    } else {
        json!([])
    };
    operation.insert("security".to_owned(), security);
    if let Some(role) = endpoint.rule.role {
        operation.insert("x-role".to_owned(), json!(role));
        let narrowed = endpoint.rule.reach != Reach::Fleet;
        operation.insert("x-tenant-tokens".to_owned(), json!(narrowed));
    }
    operation.into()
}

fn answer(when: &str, content: Value) -> Value {
    match content.as_object().is_some_and(Map::is_empty) {
        true => json!({"description": when}),
        false => json!({"description": when, "content": content}),
    }
}

fn media(content: &Content, shapes: &mut SchemaGenerator) -> Value {
    match content {
        Content::Json(shape) => json!({"application/json": {"schema": shape(shapes)}}),
        Content::Lines(shape) => json!({"application/x-ndjson": {"schema": shape(shapes)}}),
        Content::Text(media) => json!({*media: {"schema": {"type": "string"}}}),
        Content::Empty => json!({}),
    }
}

/// The parameters in braces.
fn in_path(path: &str) -> Vec<Value> {
    let names = path.split('{').skip(1).filter_map(|rest| rest.split('}').next());
    names
        .map(|name| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string", "format": "hostname"}}))
        .collect()
}

/// The members of the object that a query is read into.
fn in_query(shape: &Schema) -> Vec<Value> {
    let members = shape.get("properties").and_then(Value::as_object);
    let parameter = |(name, schema): (&String, &Value)| {
        let mut schema = schema.clone();
        let description = schema.as_object_mut().and_then(|s| s.remove("description"));
        json!({"name": name, "in": "query", "required": false, "description": description, "schema": schema})
    };
    members.into_iter().flatten().map(parameter).collect()
}

/// The types' own words speak Rust; callers read JSON.
fn speak_json(value: &mut Value) {
    match value {
        Value::String(text) if text.contains('`') => {
            *text = text.replace("`None`", "null").replace("[`", "").replace("`]", "");
        }
        Value::Array(all) => all.iter_mut().for_each(speak_json),
        Value::Object(all) => all.values_mut().for_each(speak_json),
        _ => {}
    }
}
