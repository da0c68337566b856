//! Units of money: ISO 4217 currencies, metals, crypto units, and exact minor units such as `GBp`.
//!
//! Case is significant and never changed: `GBp` is a penny, `GBP` a pound. What is not in the built-in
//! table may be added by an operator; the database then knows it, this module does not.

use crate::domain::decimal::Decimal;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// Most bytes a unit's code may have.
pub const CODE_BYTES: usize = 10;

/// A unit of money, by code. That the code is known is checked where it enters the service.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Currency {
    bytes: [u8; CODE_BYTES],
}

/// Built-in codes, each with the decimals of its smallest ordinary amount.
/// ISO 4217 list one of 2026; those of list three that the ECB has quoted since 1999; metals per troy ounce; crypto
/// units by their usual code.
const BUILT_IN: &str = "\
AED2 AFN2 ALL2 AMD2 ANG2 AOA2 ARS2 AUD2 AWG2 AZN2 BAM2 BBD2 BDT2 BGN2 BHD3 BIF0 BMD2 BND2 BOB2 BRL2 BSD2 BTN2 BWP2 \
BYN2 BZD2 CAD2 CDF2 CHF2 CLF4 CLP0 CNH2 CNY2 COP2 CRC2 CUP2 CVE2 CZK2 DJF0 DKK2 DOP2 DZD2 EGP2 ERN2 ETB2 EUR2 FJD2 \
FKP2 GBP2 GEL2 GHS2 GIP2 GMD2 GNF0 GTQ2 GYD2 HKD2 HNL2 HRK2 HTG2 HUF2 IDR2 ILS2 INR2 IQD3 IRR2 ISK0 JMD2 JOD3 JPY0 \
KES2 KGS2 KHR2 KMF0 KPW2 KRW0 KWD3 KYD2 KZT2 LAK2 LBP2 LKR2 LRD2 LSL2 LYD3 MAD2 MDL2 MGA2 MKD2 MMK2 MNT2 MOP2 MRU2 \
MUR2 MVR2 MWK2 MXN2 MYR2 MZN2 NAD2 NGN2 NIO2 NOK2 NPR2 NZD2 OMR3 PAB2 PEN2 PGK2 PHP2 PKR2 PLN2 PYG0 QAR2 RON2 RSD2 \
RUB2 RWF0 SAR2 SBD2 SCR2 SDG2 SEK2 SGD2 SHP2 SLE2 SOS2 SRD2 SSP2 STN2 SVC2 SYP2 SZL2 THB2 TJS2 TMT2 TND3 TOP2 TRY2 \
TTD2 TWD2 TZS2 UAH2 UGX0 USD2 UYU2 UZS2 VED2 VES2 VND0 VUV0 WST2 XAF0 XCD2 XCG2 XOF0 XPF0 YER2 ZAR2 ZMW2 ZWG2 XDR2 \
CYP2 EEK2 LTL2 LVL2 MTL2 ROL0 SIT2 SKK2 TRL0 \
XAU4 XAG4 XPT4 XPD4 \
BTC8 ETH8 USDT6 USDC6 DAI6 BNB8 SOL8 XRP6 ADA6 DOGE8 LTC8 BCH8 DOT8 AVAX8 MATIC8 POL8 TRX6 LINK8 XLM7 ATOM6 UNI8 XMR8 \
ETC8 FIL8 BUSD6 TUSD6 EURC6 XTZ6 ALGO6 EOS4 AAVE8 NEAR8 APT8 ARB8 OP8 TON8 SHIB8 WBTC8 STETH8";

/// Minor units that prices are quoted in: code, major unit, how many make one.
const MINOR: &[(&str, &str, i64)] =
    &[("GBp", "GBP", 100), ("GBX", "GBP", 100), ("ILA", "ILS", 100), ("ZAc", "ZAR", 100)];

impl Currency {
    /// A unit with this code, if the code is well formed: 2 to 10 ASCII letters or digits.
    pub fn from_code(code: &str) -> Option<Self> {
        let well_formed =
            (2..=CODE_BYTES).contains(&code.len()) && code.bytes().all(|b| b.is_ascii_alphanumeric());
        if !well_formed {
            return None;
        }
        let mut bytes = [0; CODE_BYTES];
        bytes.get_mut(..code.len())?.copy_from_slice(code.as_bytes());
        Some(Self { bytes })
    }

    /// Its code.
    pub fn code(&self) -> &str {
        let end = self.bytes.iter().position(|b| *b == 0).unwrap_or(CODE_BYTES);
        std::str::from_utf8(self.bytes.get(..end).unwrap_or_default()).unwrap_or_default()
    }

    /// Whether the built-in table knows it.
    pub fn is_built_in(&self) -> bool {
        let code = self.code();
        MINOR.iter().any(|(minor, _, _)| *minor == code)
            || BUILT_IN.split(' ').any(|entry| entry.get(..entry.len() - 1) == Some(code))
    }

    /// Its major unit and how many of it make one; itself and 1 when it is a major unit.
    pub fn major(&self) -> (Self, Decimal) {
        let code = self.code();
        let minor = MINOR.iter().find(|(minor, _, _)| *minor == code);
        minor
            .and_then(|(_, major, per)| Some((Self::from_code(major)?, Decimal::from(*per))))
            .unwrap_or((*self, Decimal::ONE))
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl Serialize for Currency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}

impl<'de> Deserialize<'de> for Currency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let code = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        Self::from_code(&code).ok_or_else(|| serde::de::Error::custom(format!("malformed currency `{code}`")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn c(code: &str) -> Currency {
        Currency::from_code(code).unwrap()
    }

    #[test]
    fn case_tells_a_penny_from_a_pound() {
        assert_eq!(c("GBp").major(), (c("GBP"), Decimal::from(100)));
        assert_eq!(c("GBP").major(), (c("GBP"), Decimal::ONE));
        assert!(c("GBp").is_built_in() && c("GBP").is_built_in() && !c("gbp").is_built_in());
    }

    #[test]
    fn only_known_codes_are_built_in() {
        for code in ["USD", "JPY", "XAU", "USDT", "BTC"] {
            assert!(c(code).is_built_in(), "{code}");
        }
        for code in ["US", "USD2", "ZZZ", "USDTT"] {
            assert!(!c(code).is_built_in(), "{code}");
        }
        assert!(Currency::from_code("").is_none() && Currency::from_code("U$D").is_none());
    }
}
