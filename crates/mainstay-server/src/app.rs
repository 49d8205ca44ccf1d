//! Every route in one table, and the guard that stands before each.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use axum::{
    Router,
    extract::{Request, State},
    handler::Handler,
    response::{IntoResponse, Response},
    routing::{MethodFilter, MethodRouter, on},
};
use http::Method;
use tower::{Layer, Service};

use crate::{
    auth::{Access, authorize},
    edge::{warn_when_slow, without_panic},
    error::{Code, Problem},
    metrics::{RouteId, Stopwatch},
    routes,
    server::Shared,
};

/// What is known of a route without its handler.
#[derive(Clone, Debug)]
pub(crate) struct RouteInfo {
    pub(crate) method: Method,
    /// The template, as in `/v1/sessions/{id}`.
    pub(crate) path: &'static str,
    pub(crate) access: Access,
}

/// A route.
pub(crate) struct Route {
    pub(crate) info: RouteInfo,
    serve: MethodRouter<Shared>,
}

impl Route {
    pub(crate) fn get<H, T>(path: &'static str, access: Access, handler: H) -> Self
    where
        H: Handler<T, Shared>,
        T: 'static,
    {
        Self::new(Method::GET, MethodFilter::GET, path, access, handler)
    }

    pub(crate) fn post<H, T>(path: &'static str, access: Access, handler: H) -> Self
    where
        H: Handler<T, Shared>,
        T: 'static,
    {
        Self::new(Method::POST, MethodFilter::POST, path, access, handler)
    }

    pub(crate) fn put<H, T>(path: &'static str, access: Access, handler: H) -> Self
    where
        H: Handler<T, Shared>,
        T: 'static,
    {
        Self::new(Method::PUT, MethodFilter::PUT, path, access, handler)
    }

    pub(crate) fn patch<H, T>(path: &'static str, access: Access, handler: H) -> Self
    where
        H: Handler<T, Shared>,
        T: 'static,
    {
        Self::new(Method::PATCH, MethodFilter::PATCH, path, access, handler)
    }

    pub(crate) fn delete<H, T>(path: &'static str, access: Access, handler: H) -> Self
    where
        H: Handler<T, Shared>,
        T: 'static,
    {
        Self::new(Method::DELETE, MethodFilter::DELETE, path, access, handler)
    }

    fn new<H, T>(method: Method, filter: MethodFilter, path: &'static str, access: Access, handler: H) -> Self
    where
        H: Handler<T, Shared>,
        T: 'static,
    {
        Self { info: RouteInfo { method, path, access }, serve: on(filter, handler) }
    }
}

/// The table. GET routes answer HEAD too.
pub(crate) fn table() -> Vec<Route> {
    [
        routes::health::routes(),
        routes::reference::routes(),
        routes::store::routes(),
        routes::sessions::routes(),
        routes::cache::routes(),
        routes::tokens::routes(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// What is known of every route, in the order of the table.
pub(crate) fn infos() -> Vec<RouteInfo> {
    table().into_iter().map(|route| route.info).collect()
}

/// All routes, each behind its guard.
pub(crate) fn router(server: &Shared) -> Router {
    let mut router = Router::new();
    for (at, route) in table().into_iter().enumerate() {
        let guard = GuardLayer { server: server.clone(), id: RouteId(at), info: route.info.clone() };
        router = router.route(route.info.path, route.serve.layer(guard));
    }
    router
        .fallback(async |State(server): State<Shared>| {
            unmatched(&server, Problem::new(Code::NotFound, "There is no such route."))
        })
        .method_not_allowed_fallback(async |State(server): State<Shared>| {
            unmatched(&server, Problem::new(Code::MethodNotAllowed, "The header Allow names the methods."))
        })
        .with_state(server.clone())
}

fn unmatched(server: &Shared, problem: Problem) -> Response {
    let response = problem.into_response();
    server.metrics.answered(None, response.status(), std::time::Duration::ZERO);
    response
}

/// Puts a [`Guard`] before a route.
#[derive(Clone)]
struct GuardLayer {
    server: Shared,
    id: RouteId,
    info: RouteInfo,
}

impl<S> Layer<S> for GuardLayer {
    type Service = Guard<S>;

    fn layer(&self, inner: S) -> Guard<S> {
        Guard {
            inner,
            server: self.server.clone(),
            id: self.id,
            path: self.info.path,
            access: self.info.access,
        }
    }
}

/// Checks the caller, keeps panics in, and counts the answer.
#[derive(Clone)]
struct Guard<S> {
    inner: S,
    server: Shared,
    id: RouteId,
    path: &'static str,
    access: Access,
}

impl<S> Service<Request> for Guard<S>
where
    S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        // The clone waits for the next request; this one has been polled ready.
        let inner = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, inner);
        let Self { server, id, path, access, .. } = self;
        let (server, id, path, access) = (server.clone(), *id, *path, *access);
        Box::pin(async move {
            let watch = Stopwatch::start();
            let response = without_panic(async {
                match authorize(&server, request.headers(), access).await {
                    Ok(caller) => {
                        if let Some(caller) = caller {
                            request.extensions_mut().insert(caller);
                        }
                        match inner.call(request).await {
                            Ok(response) => response,
                            Err(never) => match never {},
                        }
                    }
                    Err(problem) => problem.into_response(),
                }
            })
            .await;
            server.metrics.answered(Some(id), response.status(), watch.elapsed());
            warn_when_slow(watch, path);
            Ok(response)
        })
    }
}
