//! Explanations on the wire: a figure, its formula, and the terms that add up to it.

use crate::domain::currency::Currency;
use crate::domain::pnl::explain::{Detail, Evidence, Explained, FIGURES, Term};
use crate::http::pnl::PriceUsedView;
use crate::http::query::Query;
use crate::http::wire::{Amount, Time, amount};
use crate::workers::pnl_engine::Figures;
use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

/// How the numbers of every explanation are computed.
const ARITHMETIC: &str = "sums, differences and products are exact; a quotient is rounded half-even to 34 significant \
    digits; an amount in another currency is multiplied by the numerator of its rate and then divided by the denominator";

/// Figures a read is asked to explain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// All of them.
    All,
    /// These.
    These(Vec<String>),
}

impl Wanted {
    /// Reads `explain`: `true`, or the names of figures with commas between them.
    pub fn of_query(query: &mut Query) -> Option<Self> {
        let text = query.text("explain").filter(|text| text != "false")?;
        if text == "true" {
            return Some(Self::All);
        }
        let names: Vec<String> = text.split(',').map(|name| name.trim().to_owned()).collect();
        if let Some(stranger) = names.iter().find(|name| !FIGURES.contains(&name.as_str())) {
            let detail = format!("must be true, or some of {}; not `{stranger}`", FIGURES.join(", "));
            query.fault("explain", "unknown_value", detail);
        }
        Some(Self::These(names))
    }

    fn includes(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::These(names) => names.iter().any(|known| known == name),
        }
    }
}

/// A figure, explained.
#[derive(Debug, Serialize, ToSchema)]
pub struct ExplainedView {
    /// Its name; `cash:` and a currency for the balance of one currency, in that currency.
    #[schema(example = "realized_pnl")]
    figure: String,
    #[schema(example = "realized_pnl + unrealized_pnl")]
    formula: &'static str,
    /// The figure.
    value: Option<Amount>,
    /// Its parts. Their `amount`s add up to `value` exactly.
    #[schema(value_type = Vec<Object>)]
    terms: Vec<Map<String, Value>>,
}

/// What the figures of an answer are made of.
#[derive(Debug, Serialize, ToSchema)]
pub struct ExplanationView {
    arithmetic: &'static str,
    figures: Vec<ExplainedView>,
}

/// Explains the figures asked for. They must have been computed with every part noted.
pub fn explanation(figures: &Figures, base: Currency, wanted: &Wanted) -> Option<ExplanationView> {
    let seen = figures.evidence.as_ref()?;
    let evidence = Evidence {
        book: &figures.book,
        report: &figures.report,
        ledger: &seen.ledger,
        rates: &seen.rates,
        base,
        at: seen.at,
    };
    let explained = evidence.explain(|name| wanted.includes(name));
    let views = explained.into_iter().map(|one| view(one, figures)).collect();
    Some(ExplanationView { arithmetic: ARITHMETIC, figures: views })
}

fn view(explained: Explained, figures: &Figures) -> ExplainedView {
    ExplainedView {
        figure: explained.figure,
        formula: explained.formula,
        value: amount(explained.value.as_ref()),
        terms: explained.terms.iter().map(|term| term_view(term, figures)).collect(),
    }
}

fn term_view(term: &Term, figures: &Figures) -> Map<String, Value> {
    let mut out = Map::new();
    out.insert("kind".to_owned(), json!(term.kind));
    out.insert("amount".to_owned(), json!(amount(term.amount.as_ref())));
    let symbol = term.asset.and_then(|key| figures.assets.get(&key)).map(|asset| &asset.symbol);
    let named = [
        ("account", term.account.as_ref().map(|account| json!(account))),
        ("symbol", symbol.map(|symbol| json!(symbol))),
        ("currency", term.currency.map(|currency| json!(currency))),
    ];
    for (name, value) in named {
        out.extend(value.map(|value| (name.to_owned(), value)));
    }
    out.extend(term.details.iter().map(|(name, detail)| ((*name).to_owned(), shown(detail))));
    out
}

fn shown(detail: &Detail) -> Value {
    match detail {
        Detail::Number(number) => json!(amount(number.as_ref())),
        Detail::Moment(moment) => json!(Time(*moment)),
        Detail::Transaction(id) => json!(id),
        Detail::Name(name) => json!(name),
        Detail::Rate(rate) => json!({
            "numerator": Amount(rate.numerator.clone()),
            "denominator": Amount(rate.denominator.clone()),
            "observed_at": rate.observed_at.map(Time),
        }),
        Detail::Price(price) => json!(PriceUsedView::from(price)),
        Detail::Lots(lots) => lots
            .iter()
            .map(|(transaction, acquired_at, quantity, cost)| {
                json!({
                    "transaction": transaction,
                    "acquired_at": Time(*acquired_at),
                    "quantity": Amount(quantity.clone()),
                    "cost": Amount(cost.own.clone()),
                    "cost_base": amount(cost.base.as_ref()),
                })
            })
            .collect(),
    }
}
