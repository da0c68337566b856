//! Every path of the service, and the document made from the same table.

use crate::http::auth::Door;
use crate::http::openapi::{self, Frame, Written};
use crate::http::{
    AppState, actions, assets, attribution, audit, backups, candles, currencies, dead_letters, difference,
    docs, exports, feed_mappings, feeds, fx, gains, health, history, imports, ingest_queue, keys, layers,
    ledger_imports, login, login_sessions, markets, metrics, outbox, pnl, portfolios, position_trades,
    positions, price_batch, price_history, price_rows, price_sources, price_stream, price_withdrawal, prices,
    rate_imports, record_files, returns, second_factor, several, signing_keys, statement, transactions,
    users, values,
};
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::get;
use std::sync::Arc;
use utoipa::OpenApi as _;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// The routes, one line each.
pub fn routes() -> RoutesBuilder {
    RoutesBuilder(
        OpenApiRouter::with_openapi(Frame::openapi())
            .merge(operations())
            .merge(access())
            .merge(reference())
            .merge(market_data())
            .merge(intake())
            .merge(portfolios_and_positions())
            .merge(over_time())
            .merge(ledgers())
            .merge(corporate_actions())
            .merge(files())
            .merge(documents()),
    )
}

/// The service itself.
fn operations() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(health::health))
        .routes(routes!(health::live))
        .routes(routes!(health::ready))
        .routes(routes!(health::startup))
        .routes(routes!(health::accept_clock))
        .routes(routes!(metrics::metrics))
        .routes(routes!(backups::list_backups, backups::create_backup))
        .routes(routes!(backups::get_backup))
        .routes(routes!(backups::verify_backup))
        .routes(routes!(audit::list_audit))
        .routes(routes!(audit::export_audit))
        .routes(routes!(audit::verify_audit))
        .routes(routes!(audit::accept_restore))
}

/// Who may use the service.
fn access() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(keys::list_keys, keys::create_key))
        .routes(routes!(keys::get_key, keys::revoke_key))
        .routes(routes!(keys::rotate_key))
        .routes(routes!(users::list_users, users::create_user))
        .routes(routes!(users::get_user, users::update_user))
        .routes(routes!(users::set_user_password))
        .routes(routes!(users::act_on_user))
        .routes(routes!(second_factor::remove))
        .merge(
            OpenApiRouter::new()
                .routes(routes!(login::login))
                .routes(routes!(login::refresh))
                .routes(routes!(login::logout))
                .routes(routes!(login::change_own_password))
                .routes(routes!(login_sessions::end_own_sessions))
                .routes(routes!(second_factor::set_up))
                .routes(routes!(second_factor::confirm))
                .routes(routes!(second_factor::remove_own))
                .layer(DefaultBodyLimit::max(login::BODY_MAX)),
        )
        .routes(routes!(login::me))
        .routes(routes!(login_sessions::list_own_sessions))
        .routes(routes!(signing_keys::revoke_tokens))
        .routes(routes!(signing_keys::rotate_signing_key))
        .routes(routes!(signing_keys::jwks))
}

/// Markets, assets and currencies.
fn reference() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(markets::list_markets, markets::create_market))
        .routes(routes!(markets::get_market, markets::update_market))
        .routes(routes!(markets::act_on_market))
        .routes(routes!(assets::list_assets, assets::create_asset))
        .routes(routes!(assets::get_asset, assets::update_asset))
        .routes(routes!(assets::act_on_asset))
        .routes(routes!(currencies::list_currencies, currencies::create_currency))
}

/// Prices and exchange rates, one by one.
fn market_data() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(prices::price_of_asset))
        .routes(routes!(candles::list_candles))
        .routes(routes!(candles::list_gaps))
        .routes(routes!(price_history::list_prices, prices::record_price, price_withdrawal::withdraw_price))
        .routes(routes!(prices::latest_prices))
        .routes(routes!(fx::list_rates, fx::record_rate))
        .routes(routes!(feed_mappings::test_mapping))
        .routes(routes!(outbox::get_outbox))
        .routes(routes!(outbox::list_refused_posts))
        .routes(routes!(outbox::retry_refused_posts))
        .routes(routes!(outbox::retry_refused_post))
        .routes(routes!(outbox::discard_refused_post))
}

/// What is on its way in, and the files of what came.
fn intake() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(ingest_queue::get_queue, ingest_queue::queue_prices))
        .layer(DefaultBodyLimit::max(price_rows::BODY_MAX))
        .routes(routes!(ingest_queue::get_batch))
        .routes(routes!(dead_letters::list_dead_letters))
        .routes(routes!(dead_letters::retry_dead_letter))
        .routes(routes!(dead_letters::discard_dead_letter))
        .routes(routes!(record_files::list_record_sources))
        .routes(routes!(record_files::get_records))
        .routes(routes!(record_files::get_manifest))
        .routes(routes!(feeds::list_feeds))
        .routes(routes!(feeds::get_feed))
        .routes(routes!(feeds::start_feed))
        .routes(routes!(feeds::stop_feed))
        .routes(routes!(feeds::run_feed))
}

/// Portfolios, what they hold and what it is worth.
fn portfolios_and_positions() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(portfolios::list_portfolios, portfolios::create_portfolio))
        .routes(routes!(
            portfolios::get_portfolio,
            portfolios::update_portfolio,
            portfolios::delete_portfolio
        ))
        .routes(routes!(portfolios::act_on_portfolio))
        .routes(routes!(positions::list_positions, position_trades::open_position))
        .routes(routes!(positions::get_position))
        .routes(routes!(position_trades::close_position))
        .routes(routes!(position_trades::reduce_position))
        .routes(routes!(pnl::portfolio_pnl))
        .routes(routes!(difference::portfolio_difference))
        .routes(routes!(values::portfolio_values))
        .routes(routes!(gains::portfolio_gains))
        .routes(routes!(gains::portfolio_lots))
}

/// The entries of portfolios.
fn ledgers() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(exports::export_portfolio))
        .routes(routes!(transactions::list_transactions, transactions::record_transactions))
        .routes(routes!(transactions::get_transaction))
        .routes(routes!(transactions::void_transaction))
}

/// Routes of what happens to an asset, and of how its prices come.
fn corporate_actions() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(actions::list_actions, actions::record_actions))
        .routes(routes!(actions::get_action))
        .routes(routes!(actions::void_action))
        .routes(routes!(price_sources::list_price_sources))
        .routes(routes!(price_sources::get_price_source, price_sources::describe_price_source))
}

/// Figures over a span of time, and of several portfolios.
fn over_time() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(history::portfolio_history))
        .routes(routes!(returns::portfolio_performance))
        .routes(routes!(attribution::portfolio_attribution))
        .routes(routes!(several::performance))
}

/// Routes that take a whole file.
fn files() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(imports::import_prices))
        .routes(routes!(rate_imports::import_rates))
        .layer(DefaultBodyLimit::max(imports::FILE_MAX))
        .merge(
            OpenApiRouter::new()
                .routes(routes!(price_batch::record_prices))
                .layer(DefaultBodyLimit::max(price_rows::BODY_MAX)),
        )
        .routes(routes!(price_stream::stream_prices))
        .merge(
            OpenApiRouter::new()
                .routes(routes!(ledger_imports::import_transactions))
                .layer(DefaultBodyLimit::max(ledger_imports::FILE_MAX)),
        )
}

/// Routes that take a whole document.
fn documents() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(several::pnl, statement::check_statement))
        .layer(DefaultBodyLimit::max(statement::DOCUMENT_MAX))
}

/// The routes before they are tied to a state.
pub struct RoutesBuilder(OpenApiRouter<AppState>);

impl RoutesBuilder {
    /// The document of the routes.
    pub fn into_openapi(self) -> utoipa::openapi::OpenApi {
        self.0.into_openapi()
    }
}

/// What watches the service, as one router: no key is asked for, so its listener decides who may come.
pub fn watch(app: &AppState) -> Router {
    let (routes, _) = OpenApiRouter::new()
        .routes(routes!(health::health))
        .routes(routes!(health::live))
        .routes(routes!(health::ready))
        .routes(routes!(health::startup))
        .routes(routes!(metrics::metrics))
        .split_for_parts();
    layers::around(routes.with_state(AppState::clone(app)), app, Door::Owner)
}

/// The whole service as one router, for one door.
pub fn service(app: &AppState, door: Door) -> Router {
    let (routes, _) = routes().0.split_for_parts();
    let routes = routes.with_state(AppState::clone(app));
    let all = if app.described { routes.merge(description()) } else { routes };
    layers::around(all, app, door)
}

/// The pages and the document that describe the service.
fn description() -> Router {
    let document: Arc<str> = openapi::document().to_string().into();
    let described = Router::new().route(docs::DOCUMENT, get(openapi::serve)).with_state(Written(document));
    let pages = Router::new().route("/docs", get(docs::browser)).route("/docs/problems", get(docs::problems));
    described.merge(pages).merge(docs::files())
}
