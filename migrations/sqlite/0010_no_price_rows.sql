-- The rows were carried over into blocks (src/storage/carry_over.rs); the newest price of each asset is in memory.
DROP TABLE prices;
DROP TABLE latest_prices;
