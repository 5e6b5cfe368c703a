//! One endpoint: its path, who may use it, what goes in and out, and what answers. Routes, role
//! checks and the description at `/openapi.json` are all made from these, so they cannot differ.

use std::sync::Arc;

use axum::Router;
use axum::handler::Handler;
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodFilter, MethodRouter, on};
use http::{Method, StatusCode};
use linkseal_config::admin::Role;
use schemars::{JsonSchema, Schema, SchemaGenerator};

use super::Context;
use super::auth::guard;
use super::problem::Problem;
use super::scope::Reach;

/// The shape of a value.
pub(super) type Shape = fn(&mut SchemaGenerator) -> Schema;

/// What a body holds.
#[derive(Clone, Copy)]
pub(super) enum Content {
    /// One JSON value.
    Json(Shape),
    /// A JSON value a line.
    Lines(Shape),
    /// Text of this media type.
    Text(&'static str),
    /// Nothing.
    Empty,
}

impl Content {
    pub(super) fn json<T: JsonSchema>() -> Self {
        Self::Json(SchemaGenerator::subschema_for::<T>)
    }

    pub(super) fn lines<T: JsonSchema>() -> Self {
        Self::Lines(SchemaGenerator::subschema_for::<T>)
    }
}

/// Who an endpoint is for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rule {
    /// The least role that may use it. `None`: no token is needed.
    pub(super) role: Option<Role>,
    /// Whether it is also for those who see a part only.
    pub(super) reach: Reach,
}

impl Rule {
    /// For what there is no endpoint for.
    pub(super) const UNKNOWN: Self = Self {
        role: Some(Role::Viewer),
        reach: Reach::General,
    };
}

/// One method of one path.
pub(super) struct Endpoint {
    pub(super) method: Method,
    /// With parameters in braces.
    pub(super) path: &'static str,
    pub(super) rule: Rule,
    pub(super) summary: &'static str,
    /// The parameters of the query, as an object. `None`: it takes none.
    pub(super) query: Option<Shape>,
    /// What is sent to it. `None`: nothing.
    pub(super) body: Option<Content>,
    /// Whether that has to be sent.
    pub(super) needs_body: bool,
    /// What it answers when all goes well, or as foreseen.
    pub(super) answers: Vec<(StatusCode, Content, &'static str)>,
    handler: MethodRouter<Arc<Context>>,
}

impl Endpoint {
    pub(super) fn new<H, T>(
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
            handler: on(method, handler),
        }
    }

    /// Opens it to those who see a part only: see [`Reach`].
    pub(super) fn reach(mut self, reach: Reach) -> Self {
        self.rule.reach = reach;
        self
    }

    pub(super) fn query<T: JsonSchema>(mut self) -> Self {
        self.query = Some(T::json_schema);
        self
    }

    pub(super) fn body(mut self, content: Content) -> Self {
        self.body = Some(content);
        self
    }

    pub(super) fn optional_body(self, content: Content) -> Self {
        let mut endpoint = self.body(content);
        endpoint.needs_body = false;
        endpoint
    }

    pub(super) fn answers(mut self, status: StatusCode, content: Content, when: &'static str) -> Self {
        self.answers.push((status, content, when));
        self
    }
}

/// The method that a filter lets through.
pub(super) fn method(filter: MethodFilter) -> Method {
    match filter {
        MethodFilter::POST => Method::POST,
        MethodFilter::PUT => Method::PUT,
        MethodFilter::PATCH => Method::PATCH,
        MethodFilter::DELETE => Method::DELETE,
        _ => Method::GET,
    }
}

/// The routes of all endpoints, behind the guard.
pub(super) fn router(endpoints: Vec<Endpoint>, context: &Arc<Context>) -> Router {
    let mut router = Router::new();
    for endpoint in endpoints {
        router = router.route(endpoint.path, endpoint.handler);
    }
    router
        .fallback(async || Problem::not_found("there is nothing here; /openapi.json lists what there is"))
        .method_not_allowed_fallback(async || {
            Problem::method("this path does not take that method; /openapi.json lists what it takes")
        })
        .layer(from_fn_with_state(Arc::clone(context), guard))
        .with_state(Arc::clone(context))
}
