//! The smallest server on the plumbing: two listeners, one route on each.

use std::process::ExitCode;
use std::sync::Arc;

use queue_core::codes::Code;
use queue_core::service::config::{Env, Program, Raw, SHARED, Setting, SharedConfig};
use queue_core::service::http::{self, ApiError, App, HttpOptions, Method, Request, Response, Router};
use queue_core::service::ops::{Access, Guard, GuardedApp, OPS_CONNECTIONS_MAX, OpsApp};
use queue_core::service::run::{self, Lifecycle};

const OWN: &[Setting] = &[
    Setting::value("listen", "USHER_LISTEN", "ADDR", "The public listener").or("127.0.0.1:3003"),
    Setting::value("ops-listen", "USHER_OPS_LISTEN", "ADDR", "The operations listener").or("127.0.0.1:9003"),
    Setting::value("greeting", "USHER_GREETING", "TEXT", "What is said").or("hello"),
];
const PROGRAM: Program = Program {
    name: "tiny",
    version: env!("CARGO_PKG_VERSION"),
    about: "Greets",
    tables: &[OWN, SHARED],
    foreign_env: &["USHER_LEDGER"],
};

struct Config {
    shared: SharedConfig,
    greeting: String,
}

fn configure(raw: &mut Raw, env: Env<'_>) -> Config {
    Config { shared: SharedConfig::read(raw, env), greeting: raw.parse("greeting", "a text") }
}

#[derive(Clone, Copy)]
enum Route {
    Hello,
    Echo,
}

struct Public {
    router: Router<Route>,
    greeting: String,
}

impl App for Public {
    type Route = Route;

    fn router(&self) -> &Router<Route> {
        &self.router
    }

    async fn handle(&self, route: Route, mut request: Request) -> Result<Response, ApiError> {
        match route {
            Route::Hello => {
                let name = request.param("name").ok_or(Code::NotFound)?;
                Ok(http::json(::http::StatusCode::OK, &format!("{}, {name}", self.greeting)))
            }
            Route::Echo => {
                let body: serde_json::Value = request.read_json(http::BODY_BYTES_MAX).await?;
                Ok(http::json(::http::StatusCode::OK, &body))
            }
        }
    }
}

struct Operator {
    router: Router<()>,
}

impl App for Operator {
    type Route = ();

    fn router(&self) -> &Router<()> {
        &self.router
    }

    async fn handle(&self, (): (), _request: Request) -> Result<Response, ApiError> {
        Ok(http::empty(::http::StatusCode::NO_CONTENT))
    }
}

impl GuardedApp for Operator {
    fn access(&self, (): ()) -> Access {
        Access::Operator
    }
}

async fn run(config: Config, life: Lifecycle) -> anyhow::Result<()> {
    let shared = &config.shared;
    let (public, ops) = (run::bind(shared.listen).await?, run::bind(shared.ops_listen).await?);

    let router =
        Router::new().route(Method::GET, "/hello/{name}", Route::Hello).route(Method::POST, "/echo", Route::Echo);
    let app = Arc::new(Public { router, greeting: config.greeting });
    let options = HttpOptions {
        origins: shared.origins.clone(),
        proxies: shared.proxies.clone(),
        ..HttpOptions::new("usher_tiny_")
    };

    let token = shared.operator_token.as_ref().map_or("0123456789abcdef0123456789abcdef", |t| t.expose());
    let guard = Guard {
        address: ops.address(),
        hosts: shared.ops_hosts.clone(),
        operator: queue_core::service::secret::SecretDigest::new(token),
        peer: None,
    };
    let operator = Operator { router: Router::new().route(Method::POST, "/api/v1/quiet", ()) };
    let ops_app = Arc::new(OpsApp::new(operator, guard, life.readiness.clone(), life.metrics.clone()));
    let ops_options = HttpOptions { connections_max: OPS_CONNECTIONS_MAX, ..HttpOptions::new("usher_tiny_") };

    let stopping = life.stopping.clone();
    life.spawn("ticker", async move { stopping.cancelled().await });
    life.serve((public, app, options), (ops, ops_app, ops_options)).await;
    Ok(())
}

fn main() -> ExitCode {
    run::main(&PROGRAM, configure, |config| &config.shared, run)
}
