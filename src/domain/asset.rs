//! Assets, and those of their attributes that enter a figure.

use crate::domain::currency::Currency;
use crate::domain::decimal::Decimal;
use crate::domain::ids::{AssetId, AssetKey, MarketId, MarketKey};
use crate::domain::moment::Moment;
use crate::named_enum;
use chrono_tz::Tz;
use std::collections::BTreeMap;

named_enum! {
    /// Kind of asset.
    AssetType {
        /// A share.
        Stock = "STOCK",
        /// A bond.
        Bond = "BOND",
        /// A commodity.
        Commodity = "COMMODITY",
        /// A crypto unit.
        Cryptocurrency = "CRYPTOCURRENCY",
        /// A currency pair.
        Forex = "FOREX",
        /// An index.
        Index = "INDEX",
        /// A future.
        Future = "FUTURE",
        /// An option.
        Option = "OPTION",
        /// An exchange-traded fund.
        Etf = "ETF",
        /// A mutual fund.
        MutualFund = "MUTUAL_FUND",
    }
}

named_enum! {
    /// Where an asset stands in its life. Only `ACTIVE` ones may be opened through `POST /positions`.
    AssetStatus {
        /// Tradable.
        Active = "ACTIVE",
        /// Not used at present.
        Inactive = "INACTIVE",
        /// Trading stopped for a time.
        Suspended = "SUSPENDED",
        /// Gone from its market.
        Delisted = "DELISTED",
    }
}

/// An asset. `symbol` is upper-case and unique.
#[derive(Debug, Clone)]
pub struct Asset {
    /// Key inside the database.
    pub key: AssetKey,
    /// Id for the outside.
    pub id: AssetId,
    /// 1 to 20 characters.
    pub symbol: String,
    /// Name for people.
    pub name: String,
    /// Kind of asset.
    pub asset_type: AssetType,
    /// Where it stands in its life.
    pub status: AssetStatus,
    /// Key of its market.
    pub market_key: MarketKey,
    /// Id of its market.
    pub market_id: MarketId,
    /// Zone of its market, in which its days are counted.
    pub market_zone: Tz,
    /// Currency it is priced in. Fixed once a fact uses it.
    pub currency: Currency,
    /// Free JSON object, as text.
    pub metadata: String,
    /// Counts changes, from 1.
    pub version: i64,
    /// When it was recorded.
    pub created_at: Moment,
    /// When it was last changed.
    pub updated_at: Moment,
}

/// The attributes of an asset that enter a figure. They apply from their date on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// Units of the underlying in one contract.
    pub multiplier: Decimal,
    /// Quantity counts units of the quote currency, and profit is paid in the other one.
    pub inverse: bool,
    /// A trade moves no cash but fees; profit goes to cash when the position is closed.
    pub margined: bool,
    /// Currency in which cash moves and results are shown.
    pub settlement: Currency,
    /// Whether a price below zero is accepted.
    pub allows_negative_price: bool,
    /// Age in microseconds after which a price is called stale.
    pub stale_after: Option<i64>,
    /// Sources in order of preference where two have a price of the same moment.
    pub source_priority: Vec<String>,
}

impl Terms {
    /// The terms of an asset priced and settled in `currency`, with everything else at its default.
    pub fn plain(currency: Currency) -> Self {
        Self {
            multiplier: Decimal::ONE,
            inverse: false,
            margined: false,
            settlement: currency,
            allows_negative_price: false,
            stale_after: None,
            source_priority: Vec::new(),
        }
    }

    /// Value of `quantity` at `price`, in the settlement currency, before any sign:
    /// `quantity x price x multiplier`, or `quantity x multiplier / price` for an inverse contract.
    /// `None` for an inverse contract at price zero.
    pub fn notional(&self, quantity: &Decimal, price: &Decimal) -> Option<Decimal> {
        let units = quantity * &self.multiplier;
        if self.inverse { units.divide(price) } else { Some(units * price) }
    }
}

/// The terms of several assets through time, as one reader knows them.
#[derive(Debug, Clone, Default)]
pub struct TermsHistory {
    by_asset: BTreeMap<AssetKey, Vec<(Moment, Terms)>>,
}

impl TermsHistory {
    /// Adds terms that apply from `effective_at` on; of two with one date the later added wins.
    pub fn add(&mut self, asset: AssetKey, effective_at: Moment, terms: Terms) {
        let history = self.by_asset.entry(asset).or_default();
        let at = history.partition_point(|(moment, _)| *moment <= effective_at);
        history.insert(at, (effective_at, terms));
    }

    /// The terms of one of the assets alone.
    #[must_use]
    pub fn of(&self, asset: AssetKey) -> Self {
        Self {
            by_asset: self
                .by_asset
                .get_key_value(&asset)
                .map(|(key, terms)| (*key, terms.clone()))
                .into_iter()
                .collect(),
        }
    }

    /// Every currency one of the assets ever settled in.
    pub fn settlements(&self) -> impl Iterator<Item = Currency> + '_ {
        self.by_asset.values().flatten().map(|(_, terms)| terms.settlement)
    }

    /// The terms of `asset`, if they were the same throughout.
    pub fn only(&self, asset: AssetKey) -> Option<&Terms> {
        match self.by_asset.get(&asset).map(Vec::as_slice) {
            Some([(_, terms)]) => Some(terms),
            _ => None,
        }
    }

    /// The terms of `asset` in force at `at`, and from when until before when they are.
    pub fn lasting(&self, asset: AssetKey, at: Moment) -> Option<(&Terms, Moment, Moment)> {
        let history = self.by_asset.get(&asset)?;
        let index = history.partition_point(|(moment, _)| *moment <= at).saturating_sub(1);
        let (from, terms) = history.get(index)?;
        // What is first holds before its date too.
        let from = if index == 0 { Moment::MIN } else { *from };
        let until = history.get(index + 1).map_or(Moment::MAX, |(until, _)| *until);
        Some((terms, from, until))
    }

    /// The terms of `asset` in force at `at`; before its first date, the first.
    pub fn at(&self, asset: AssetKey, at: Moment) -> Option<&Terms> {
        let history = self.by_asset.get(&asset)?;
        let index = history.partition_point(|(moment, _)| *moment <= at).saturating_sub(1);
        history.get(index).map(|(_, terms)| terms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Terms that are told apart by their multiplier.
    fn terms(multiplier: i64) -> Terms {
        let euro = Currency::from_code("EUR").unwrap();
        Terms { multiplier: Decimal::from(multiplier), ..Terms::plain(euro) }
    }

    #[test]
    fn terms_last_from_their_date_to_the_next_and_the_first_hold_before_it_too() {
        let (one, two, other) = (AssetKey(1), AssetKey(2), AssetKey(3));
        let mut history = TermsHistory::default();
        history.add(one, Moment(20), terms(2));
        history.add(one, Moment(10), terms(1));
        history.add(two, Moment(10), terms(7));
        let lasting = |at| {
            let (terms, from, until) = history.lasting(one, Moment(at)).unwrap();
            (terms.multiplier.to_string(), from, until)
        };
        for at in [i64::MIN, 9, 10, 19] {
            assert_eq!(lasting(at), ("1".to_owned(), Moment::MIN, Moment(20)), "{at}");
        }
        for at in [20, 21, i64::MAX] {
            assert_eq!(lasting(at), ("2".to_owned(), Moment(20), Moment::MAX), "{at}");
        }
        assert_eq!(history.lasting(other, Moment(10)), None);
        // What was the same throughout is told without a moment.
        assert_eq!(history.only(two), Some(&terms(7)));
        assert_eq!((history.only(one), history.only(other)), (None, None));
        // Those of one asset are told as before, those of the others not at all.
        let own = history.of(one);
        assert_eq!(own.lasting(one, Moment(15)), history.lasting(one, Moment(15)));
        assert_eq!(own.lasting(two, Moment(15)), None);
    }

    #[test]
    fn every_currency_that_an_asset_ever_settled_in_is_told() {
        let mut history = TermsHistory::default();
        for (asset, at, code) in [(1, 10, "EUR"), (1, 20, "USD"), (2, 10, "CHF")] {
            let currency = Currency::from_code(code).unwrap();
            history.add(AssetKey(asset), Moment(at), Terms::plain(currency));
        }
        let codes: Vec<String> = history.settlements().map(|currency| currency.code().to_owned()).collect();
        assert_eq!(codes, ["EUR", "USD", "CHF"]);
    }
}
