//! An endpoint of the API: path, rule, input, output and handler. The routes, the checks of the guard
//! and `/openapi.json` are all derived from the table of endpoints, so they cannot diverge.

use std::sync::Arc;

use axum::Router;
use axum::handler::Handler;
use axum::middleware::from_fn;
use axum::routing::{MethodFilter, MethodRouter, on};
use http::{Method, StatusCode};
use linkseal_config::admin::Role;
use schemars::{JsonSchema, Schema, SchemaGenerator};

use crate::context::Context;
use crate::input::without_query;
use crate::problem::Problem;
use crate::scope::{Reach, Rule};

/// Makes the schema of a value.
pub(crate) type Shape = fn(&mut SchemaGenerator) -> Schema;

/// The content of a body.
#[derive(Clone, Copy)]
pub(crate) enum Content {
    /// One JSON value.
    Json(Shape),
    /// One JSON value per line.
    Lines(Shape),
    /// Text of this media type.
    Text(&'static str),
    /// No body.
    Empty,
}

impl Content {
    pub(crate) fn json<T: JsonSchema>() -> Self {
        Self::Json(SchemaGenerator::subschema_for::<T>)
    }

    pub(crate) fn lines<T: JsonSchema>() -> Self {
        Self::Lines(SchemaGenerator::subschema_for::<T>)
    }
}

/// One method of one path.
pub(crate) struct Endpoint {
    pub(crate) method: Method,
    /// With parameters in braces, such as `/v1/domains/{name}`.
    pub(crate) path: &'static str,
    pub(crate) rule: Rule,
    pub(crate) summary: &'static str,
    /// The query parameters, as the schema of an object; without it parameters are refused.
    pub(crate) query: Option<Shape>,
    pub(crate) body: Option<Content>,
    pub(crate) needs_body: bool,
    /// The answers that are specific to it, beside the common errors.
    pub(crate) answers: Vec<(StatusCode, Content, &'static str)>,
    /// Whether it exists only for clients of an earlier release.
    pub(crate) deprecated: bool,
    handler: MethodRouter<Arc<Context>>,
}

impl Endpoint {
    pub(crate) fn new<H, T>(
        method: MethodFilter,
        path: &'static str,
        role: impl Into<Option<Role>>,
        summary: &'static str,
        handler: H,
    ) -> Self
    where
        H: Handler<T, Arc<Context>>,
        T: 'static,
    {
        Self {
            method: self::method(method),
            path,
            rule: Rule {
                role: role.into(),
                reach: Reach::Fleet,
            },
            summary,
            query: None,
            body: None,
            needs_body: true,
            answers: Vec::new(),
            deprecated: false,
            handler: on(method, handler),
        }
    }

    /// Opens it to callers with a limited scope: see [`Reach`].
    pub(crate) fn reach(mut self, reach: Reach) -> Self {
        self.rule.reach = reach;
        self
    }

    pub(crate) fn query<T: JsonSchema>(mut self) -> Self {
        self.query = Some(T::json_schema);
        self
    }

    pub(crate) fn body(mut self, content: Content) -> Self {
        self.body = Some(content);
        self
    }

    pub(crate) fn optional_body(self, content: Content) -> Self {
        let mut endpoint = self.body(content);
        endpoint.needs_body = false;
        endpoint
    }

    /// Whether its handler reads the query itself, or ignores it: outside of `/v1/` probes and scrapers
    /// send parameters of their own.
    fn takes_any_query(&self) -> bool {
        self.query.is_some() || !self.path.starts_with("/v1/")
    }

    pub(crate) fn deprecated(mut self) -> Self {
        self.deprecated = true;
        self
    }

    pub(crate) fn answers(mut self, status: StatusCode, content: Content, when: &'static str) -> Self {
        self.answers.push((status, content, when));
        self
    }
}

/// The method of a filter for one method.
pub(crate) fn method(filter: MethodFilter) -> Method {
    match filter {
        MethodFilter::POST => Method::POST,
        MethodFilter::PUT => Method::PUT,
        MethodFilter::PATCH => Method::PATCH,
        MethodFilter::DELETE => Method::DELETE,
        _ => Method::GET,
    }
}

/// The routes of all endpoints, not yet guarded.
pub(crate) fn router(endpoints: Vec<Endpoint>) -> Router<Arc<Context>> {
    let mut router = Router::new();
    for endpoint in endpoints {
        let handler = match endpoint.takes_any_query() {
            true => endpoint.handler,
            false => endpoint.handler.route_layer(from_fn(without_query)),
        };
        router = router.route(endpoint.path, handler);
    }
    router
        .fallback(async || Problem::not_found("there is no such path; /openapi.json lists all paths"))
        .method_not_allowed_fallback(async || {
            Problem::method("this path does not support that method; /openapi.json lists the methods")
        })
}
