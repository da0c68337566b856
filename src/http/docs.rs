//! Pages for people: the API described, and every failure by its code.

use crate::http::error::Code;
use axum::Router;
use axum::http::{HeaderValue, header};
use axum::middleware::map_response;
use axum::response::{Html, IntoResponse, Response};
use std::fmt::Write as _;
use std::future::ready;
use std::sync::Arc;
use utoipa_swagger_ui::{Config, SwaggerUi, serve};

/// Where the files of the API browser are.
const FILES: &str = "/docs/ui";
/// Where the document is.
pub const DOCUMENT: &str = "/openapi.json";

/// The files of the API browser.
pub fn files() -> Router {
    let files = Router::from(SwaggerUi::new(FILES).config(Config::from(DOCUMENT)));
    files.layer(map_response(|response: Response| ready(with_charset(response))))
}

/// Says of a text that it is UTF-8, as each of these is.
fn with_charset(mut response: Response) -> Response {
    let kind = response.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let bare = kind.filter(|kind| kind.starts_with("text/") && !kind.contains(';'));
    if let Some(Ok(kind)) = bare.map(|kind| HeaderValue::try_from(format!("{kind}; charset=utf-8"))) {
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
    }
    response
}

/// `GET /docs`: the API browser. It answers 200 without a redirect, because the earlier service's health checks ask it.
pub async fn browser() -> Response {
    let page = serve("index.html", Arc::new(Config::from(DOCUMENT)));
    let Some(file) = page.ok().flatten() else { return Html(String::new()).into_response() };
    // Its files are named from where it lies itself.
    let text = String::from_utf8_lossy(&file.bytes)
        .replace("\"./", &format!("\"{FILES}/"))
        .replace("\"index.css\"", &format!("\"{FILES}/index.css\""));
    let mut response = Html(text).into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

/// `GET /docs/problems`: every code, to which the `type` of a problem document links.
pub async fn problems() -> Html<String> {
    let mut page = String::from(
        "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>Artifact: problems</title></head><body>\
         <h1>Problems</h1><p>The <code>code</code> of a problem document never changes its meaning or status.</p>\
         <table><tr><th>code</th><th>status</th><th>title</th></tr>",
    );
    for (code, status, title) in Code::ALL {
        // Writing to a string cannot fail.
        write!(page, "<tr id=\"{code}\"><td>{code}</td><td>{}</td><td>{title}</td></tr>", status.as_u16())
            .unwrap_or_default();
    }
    page.push_str("</table></body></html>");
    Html(page)
}
