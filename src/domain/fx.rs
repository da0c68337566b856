//! Exchange rates: the newest at or before a moment, inverse and triangulated with one division.
//!
//! A missing rate is `None`, never 1, and a later rate is never used for an earlier moment.

use crate::domain::currency::Currency;
use crate::domain::decimal::Decimal;
use crate::domain::moment::Moment;
use std::collections::{BTreeMap, BTreeSet};

/// A rate as a fraction: one unit of the first currency is `numerator / denominator` of the second.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rate {
    /// What the amount is multiplied by.
    pub numerator: Decimal,
    /// What the product is divided by, last.
    pub denominator: Decimal,
    /// The older of the observations used; `None` when no observation was needed.
    pub observed_at: Option<Moment>,
}

impl Rate {
    fn identity() -> Self {
        Self { numerator: Decimal::ONE, denominator: Decimal::ONE, observed_at: None }
    }

    /// `amount` of the first currency in the second; the division comes last and is the only rounding.
    pub fn convert(&self, amount: &Decimal) -> Decimal {
        if self.denominator == Decimal::ONE {
            return if self.numerator == Decimal::ONE { amount.clone() } else { amount * &self.numerator };
        }
        (amount * &self.numerator).divide(&self.denominator).unwrap_or(Decimal::ZERO)
    }

    fn then(&self, next: &Self) -> Self {
        Self {
            numerator: &self.numerator * &next.numerator,
            denominator: &self.denominator * &next.denominator,
            observed_at: match (self.observed_at, next.observed_at) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            },
        }
    }
}

/// One observation that a rate is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leg<'a> {
    /// One unit of this
    pub base: Currency,
    /// is in this
    pub quote: Currency,
    /// so much,
    pub rate: &'a Decimal,
    /// as seen then.
    pub observed_at: Moment,
    /// Whether the conversion goes from `quote` to `base`.
    pub inverted: bool,
}

impl Leg<'_> {
    /// The observation in the direction it is used in.
    fn rate(&self) -> Rate {
        let (numerator, denominator) =
            if self.inverted { (Decimal::ONE, self.rate.clone()) } else { (self.rate.clone(), Decimal::ONE) };
        Rate { numerator, denominator, observed_at: Some(self.observed_at) }
    }
}

/// The rates one reader knows, by pair and time.
#[derive(Debug, Clone, Default)]
pub struct Rates {
    pairs: BTreeMap<(Currency, Currency), Vec<(Moment, Decimal)>>,
    first_known: bool,
}

impl Rates {
    /// The same, but a pair without an earlier observation has its first later one (`lookup: first_known`).
    #[must_use]
    pub fn with_first_known(self) -> Self {
        Self { first_known: true, ..self }
    }

    /// Adds a rate: one `base` is `rate` `quote`. Of two with one moment the later added wins.
    pub fn add(&mut self, base: Currency, quote: Currency, observed_at: Moment, rate: Decimal) {
        let points = self.pairs.entry((base, quote)).or_default();
        let at = points.partition_point(|(moment, _)| *moment <= observed_at);
        points.insert(at, (observed_at, rate));
    }

    /// The moment of the newest observation.
    pub fn latest(&self) -> Option<Moment> {
        self.pairs.values().filter_map(|points| points.last()).map(|(moment, _)| *moment).max()
    }

    /// Adds the rates of another collection; a point known to both stays once.
    pub fn extend(&mut self, other: Self) {
        for ((base, quote), points) in other.pairs {
            for (observed_at, rate) in points {
                let known = self.pairs.get(&(base, quote));
                if !known.is_some_and(|known| known.contains(&(observed_at, rate.clone()))) {
                    self.add(base, quote, observed_at, rate);
                }
            }
        }
    }

    /// The newest observation of a pair as quoted, at or before `at`.
    fn quoted(&self, base: Currency, quote: Currency, at: Moment) -> Option<(Moment, &Decimal)> {
        let points = self.pairs.get(&(base, quote))?;
        let index = points.partition_point(|(moment, _)| *moment <= at);
        let index = index.checked_sub(1).or(self.first_known.then_some(0))?;
        points.get(index).map(|(seen, rate)| (*seen, rate))
    }

    /// A pair as quoted or its inverse, whichever was observed later; as quoted where both are equally old.
    fn direct(&self, from: Currency, to: Currency, at: Moment) -> Option<Leg<'_>> {
        let quoted = self.quoted(from, to, at);
        let inverse = self.quoted(to, from, at).filter(|(_, rate)| !rate.is_zero());
        let as_quoted =
            |(seen, rate)| Leg { base: from, quote: to, observed_at: seen, rate, inverted: false };
        let inverted = |(seen, rate)| Leg { base: to, quote: from, observed_at: seen, rate, inverted: true };
        match (quoted, inverse) {
            (Some(q), Some(i)) if i.0 > q.0 => Some(inverted(i)),
            (Some(q), _) => Some(as_quoted(q)),
            (None, i) => i.map(inverted),
        }
    }

    /// What leads from one major unit to another: the pair itself, or through one third currency (EUR, then USD,
    /// then by code).
    fn route(&self, from: Currency, to: Currency, at: Moment) -> Option<(Leg<'_>, Option<Leg<'_>>)> {
        if let Some(leg) = self.direct(from, to, at) {
            return Some((leg, None));
        }
        let through = |via: Currency| {
            if via == from || via == to {
                return None;
            }
            Some((self.direct(from, via, at)?, Some(self.direct(via, to, at)?)))
        };
        let mut preferred = ["EUR", "USD"].into_iter().filter_map(Currency::from_code);
        preferred.find_map(through).or_else(|| self.known().into_iter().find_map(through))
    }

    fn known(&self) -> BTreeSet<Currency> {
        self.pairs.keys().flat_map(|(base, quote)| [*base, *quote]).collect()
    }

    /// The rate from one currency to another at `at`: equal units, minor units by their exact factor,
    /// a quoted pair, or through one third currency (EUR, then USD, then by code).
    pub fn rate(&self, from: Currency, to: Currency, at: Moment) -> Option<Rate> {
        if from == to {
            return Some(Rate::identity());
        }
        let ((from_major, from_per), (to_major, to_per)) = (from.major(), to.major());
        let units = Rate { numerator: to_per, denominator: from_per, observed_at: None };
        if from_major == to_major {
            return Some(units);
        }
        let (first, second) = self.route(from_major, to_major, at)?;
        let rate = units.then(&first.rate());
        Some(match second {
            Some(second) => rate.then(&second.rate()),
            None => rate,
        })
    }

    /// The observations that [`Self::rate`] puts together: none between units of one major unit, else one or two.
    /// `None` when there is no rate.
    pub fn legs(&self, from: Currency, to: Currency, at: Moment) -> Option<Vec<Leg<'_>>> {
        let (from, to) = (from.major().0, to.major().0);
        if from == to {
            return Some(Vec::new());
        }
        let (first, second) = self.route(from, to, at)?;
        Some([Some(first), second].into_iter().flatten().collect())
    }

    /// `amount` of `from` in `to` at `at`; `None` when no rate at or before `at` is known.
    pub fn convert(&self, amount: &Decimal, from: Currency, to: Currency, at: Moment) -> Option<Decimal> {
        if from == to || amount.is_zero() {
            return Some(amount.clone());
        }
        self.rate(from, to, at).map(|rate| rate.convert(amount))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn c(code: &str) -> Currency {
        Currency::from_code(code).unwrap()
    }
    fn d(text: &str) -> Decimal {
        text.parse().unwrap()
    }

    #[test]
    fn triangulation_divides_once_and_last() {
        let mut rates = Rates::default();
        rates.add(c("EUR"), c("USD"), Moment(1), d("1.3"));
        rates.add(c("EUR"), c("CHF"), Moment(1), d("0.9"));
        // 130 USD x 0.9 / 1.3 is 90 exactly; 130 / 1.3 x 0.9 would be too, 100 / 1.3 x 0.9 would not.
        assert_eq!(rates.convert(&d("130"), c("USD"), c("CHF"), Moment(1)).unwrap().to_string(), "90");
        let rate = rates.rate(c("USD"), c("CHF"), Moment(1)).unwrap();
        assert_eq!((rate.numerator.normalized(), rate.denominator.normalized()), (d("0.9"), d("1.3")));
    }

    #[test]
    fn a_later_rate_is_never_used_for_an_earlier_moment() {
        let mut rates = Rates::default();
        rates.add(c("EUR"), c("USD"), Moment(10), d("1.1"));
        assert_eq!(rates.convert(&d("1"), c("EUR"), c("USD"), Moment(9)), None);
        assert_eq!(rates.convert(&d("1"), c("EUR"), c("USD"), Moment(11)), Some(d("1.1")));
        assert_eq!(rates.convert(&d("11"), c("USD"), c("EUR"), Moment(11)), Some(d("10")));
    }

    #[test]
    fn minor_units_are_exact_aliases() {
        let mut rates = Rates::default();
        rates.add(c("GBP"), c("USD"), Moment(1), d("1.25"));
        assert_eq!(rates.convert(&d("250"), c("GBp"), c("GBP"), Moment(0)), Some(d("2.5")));
        assert_eq!(rates.convert(&d("250"), c("GBp"), c("USD"), Moment(1)), Some(d("3.125")));
        assert_eq!(rates.convert(&d("5"), c("USD"), c("GBp"), Moment(1)), Some(d("400")));
    }

    #[test]
    fn the_legs_of_a_rate_are_the_observations_it_is_made_of() {
        let mut rates = Rates::default();
        rates.add(c("EUR"), c("USD"), Moment(2), d("1.3"));
        rates.add(c("EUR"), c("CHF"), Moment(1), d("0.9"));
        let legs = rates.legs(c("USD"), c("CHF"), Moment(5)).unwrap();
        let said: Vec<(Currency, Currency, i64, bool)> =
            legs.iter().map(|leg| (leg.base, leg.quote, leg.observed_at.0, leg.inverted)).collect();
        assert_eq!(said, [(c("EUR"), c("USD"), 2, true), (c("EUR"), c("CHF"), 1, false)]);
        assert_eq!(rates.legs(c("GBp"), c("GBP"), Moment(0)), Some(Vec::new()));
        assert_eq!(rates.legs(c("GBp"), c("USD"), Moment(5)), None);
        assert_eq!(rates.rate(c("USD"), c("CHF"), Moment(5)).unwrap().observed_at, Some(Moment(1)));
    }

    #[test]
    fn of_a_pair_and_its_inverse_the_later_counts_and_the_pair_where_both_are_of_one_moment() {
        let mut rates = Rates::default();
        rates.add(c("EUR"), c("USD"), Moment(1), d("2"));
        rates.add(c("USD"), c("EUR"), Moment(1), d("0.4"));
        assert_eq!(rates.convert(&d("1"), c("EUR"), c("USD"), Moment(1)), Some(d("2")));
        assert_eq!(rates.convert(&d("1"), c("USD"), c("EUR"), Moment(1)), Some(d("0.4")));
        rates.add(c("USD"), c("EUR"), Moment(2), d("0.25"));
        assert_eq!(rates.convert(&d("1"), c("EUR"), c("USD"), Moment(2)), Some(d("4")));
    }

    #[test]
    fn a_pair_without_an_earlier_rate_has_its_first_only_where_that_is_asked_for() {
        let mut rates = Rates::default();
        assert_eq!(rates.latest(), None);
        rates.add(c("EUR"), c("USD"), Moment(10), d("1.1"));
        rates.add(c("EUR"), c("USD"), Moment(20), d("1.2"));
        rates.add(c("EUR"), c("CHF"), Moment(15), d("0.9"));
        assert_eq!(rates.latest(), Some(Moment(20)));
        let first = rates.with_first_known();
        let of = |at| first.convert(&d("1"), c("EUR"), c("USD"), Moment(at));
        assert_eq!([of(9), of(10), of(20)], ["1.1", "1.1", "1.2"].map(|rate| Some(d(rate))));
    }

    #[test]
    fn rates_of_two_collections_are_put_together_each_once() {
        let (mut one, mut two) = (Rates::default(), Rates::default());
        one.add(c("EUR"), c("USD"), Moment(10), d("1.1"));
        two.add(c("EUR"), c("USD"), Moment(10), d("1.1"));
        two.add(c("EUR"), c("USD"), Moment(20), d("1.2"));
        two.add(c("EUR"), c("CHF"), Moment(10), d("0.9"));
        one.extend(two.clone());
        assert_eq!(one.pairs, two.pairs);
    }
}
