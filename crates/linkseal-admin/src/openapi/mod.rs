//! The description of the API (OpenAPI 3.1), derived from the endpoints and the types.

mod operation;

use schemars::generate::SchemaSettings;
use schemars::{Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use crate::endpoint::{Content, Endpoint};
use crate::problem::Problem;
use crate::scope::Reach;

/// Where the document holds the schemas of types.
const SCHEMAS: &str = "/components/schemas";

pub(crate) fn document(endpoints: &[Endpoint]) -> Value {
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
    let problem = shapes.subschema_for::<Problem>().to_value();
    let responses = operation::responses(&problem);
    let mut tags: Vec<&str> = endpoints.iter().map(operation::tag).collect();
    tags.dedup();
    let tags: Vec<Value> = tags.into_iter().map(|name| json!({"name": name})).collect();
    let schemas = shapes.take_definitions(true);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "linkseal admin API",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Keys are always present; a missing value is null. Errors are application/problem+json (RFC 9457) with a `code`. Without configured tokens the API answers on loopback only, and no token is needed.",
        },
        "tags": tags,
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": responses,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    })
}

fn operation(endpoint: &Endpoint, shapes: &mut SchemaGenerator) -> Value {
    let mut answers = Map::new();
    for (status, content, when) in &endpoint.answers {
        answers.insert(status.as_u16().to_string(), answer(when, media(content, shapes)));
    }
    let problem = shapes.subschema_for::<Problem>();
    let problem = json!({"application/problem+json": {"schema": problem}});
    // An error that the endpoint describes itself has the common schema.
    for status in ["429", "502"] {
        if let Some(foreseen) = answers.get_mut(status).and_then(Value::as_object_mut) {
            foreseen.insert("content".to_owned(), problem.clone());
        }
    }
    for error in operation::errors(endpoint) {
        let shared = || json!({"$ref": format!("#/components/responses/{}", error.name)});
        answers.entry(error.status).or_insert_with(shared);
    }
    answers.insert("default".to_owned(), answer("Another error.", problem));
    let mut parameters = in_path(endpoint.path);
    if let Some(query) = endpoint.query {
        parameters.extend(in_query(&query(shapes), endpoint.method.is_safe()));
    }
    let mut described = Map::new();
    described.insert("operationId".to_owned(), json!(operation::name(endpoint)));
    described.insert("tags".to_owned(), json!([operation::tag(endpoint)]));
    described.insert("summary".to_owned(), json!(endpoint.summary));
    described.insert("parameters".to_owned(), parameters.into());
    if let Some(body) = &endpoint.body {
        let body = json!({"required": endpoint.needs_body, "content": media(body, shapes)});
        described.insert("requestBody".to_owned(), body);
    }
    described.insert("responses".to_owned(), answers.into());
    if endpoint.deprecated {
        described.insert("deprecated".to_owned(), json!(true));
    }
    let security = if endpoint.rule.role.is_some() {
        json!([{"token": []}])
    } else {
        json!([])
    };
    described.insert("security".to_owned(), security);
    if let Some(role) = endpoint.rule.role {
        described.insert("x-role".to_owned(), json!(role));
        let narrowed = endpoint.rule.reach != Reach::Fleet;
        described.insert("x-tenant-tokens".to_owned(), json!(narrowed));
    }
    described.into()
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

/// The path parameters.
fn in_path(path: &str) -> Vec<Value> {
    let names = path.split('{').skip(1).filter_map(|rest| rest.split('}').next());
    names.map(|name| operation::path_parameter(path, name)).collect()
}

/// The query parameters: the members of the object that the query is read into. `may_be_empty`: an empty
/// parameter counts as absent.
fn in_query(shape: &Schema, may_be_empty: bool) -> Vec<Value> {
    let members = shape.get("properties").and_then(Value::as_object);
    let parameter = |(name, schema): (&String, &Value)| {
        let mut schema = schema.clone();
        let description = schema.as_object_mut().and_then(|s| s.remove("description"));
        operation::without_null(&mut schema);
        json!({
            "name": name, "in": "query", "required": false, "allowEmptyValue": may_be_empty, "description": description,
            "schema": schema,
        })
    };
    members.into_iter().flatten().map(parameter).collect()
}
