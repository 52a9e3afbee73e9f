-- A small shop: a dozen tables, every common column type, one table without a primary key, composite
-- keys, foreign keys, and one table of 200,000 rows. Run in an empty schema, on MariaDB or MySQL.

SET NAMES utf8mb4;
SET time_zone = '+00:00';

CREATE TABLE country (
  code CHAR(2) CHARACTER SET ascii NOT NULL PRIMARY KEY,
  name VARCHAR(60) NOT NULL,
  vat DECIMAL(4,2) NOT NULL,
  is_shipped_to BOOL NOT NULL DEFAULT TRUE
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;

CREATE TABLE customer (
  id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
  email VARCHAR(120) NOT NULL,
  name VARCHAR(80) NOT NULL,
  country CHAR(2) CHARACTER SET ascii NOT NULL,
  born DATE NULL,
  points MEDIUMINT NOT NULL DEFAULT 0,
  flags BIT(8) NOT NULL DEFAULT b'0',
  settings JSON NULL,
  note TEXT NULL,
  created TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
  changed TIMESTAMP NULL DEFAULT NULL ON UPDATE CURRENT_TIMESTAMP,
  UNIQUE KEY by_email (email),
  KEY by_name (name),
  FOREIGN KEY (country) REFERENCES country (code)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;

CREATE TABLE address (
  id INT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
  customer_id BIGINT UNSIGNED NOT NULL,
  kind ENUM('home','work','parcel shop') NOT NULL DEFAULT 'home',
  street VARCHAR(120) NOT NULL,
  city VARCHAR(80) CHARACTER SET latin1 NOT NULL,
  place POINT NULL,
  FOREIGN KEY (customer_id) REFERENCES customer (id) ON DELETE CASCADE
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;

CREATE TABLE category (
  id SMALLINT UNSIGNED NOT NULL PRIMARY KEY,
  parent SMALLINT UNSIGNED NULL,
  name VARCHAR(60) NOT NULL,
  FOREIGN KEY (parent) REFERENCES category (id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;

CREATE TABLE product (
  sku VARCHAR(24) CHARACTER SET ascii NOT NULL PRIMARY KEY,
  category SMALLINT UNSIGNED NOT NULL,
  title VARCHAR(160) NOT NULL,
  price DECIMAL(12,2) NOT NULL,
  weight DOUBLE NULL,
  rating FLOAT NULL,
  tags SET('new','sale','heavy','fragile','gift') NOT NULL DEFAULT '',
  released YEAR NULL,
  ean BIGINT UNSIGNED NULL,
  picture BLOB NULL,
  KEY by_category (category, price),
  FOREIGN KEY (category) REFERENCES category (id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;

CREATE TABLE product_text (
  sku VARCHAR(24) CHARACTER SET ascii NOT NULL,
  language CHAR(2) CHARACTER SET ascii NOT NULL,
  body MEDIUMTEXT NOT NULL,
  PRIMARY KEY (sku, language),
  FOREIGN KEY (sku) REFERENCES product (sku)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;

CREATE TABLE stock (
  warehouse TINYINT UNSIGNED NOT NULL,
  sku VARCHAR(24) CHARACTER SET ascii NOT NULL,
  amount INT NOT NULL,
  counted TIME(2) NULL,
  PRIMARY KEY (warehouse, sku)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;

CREATE TABLE orders (
  id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
  customer_id BIGINT UNSIGNED NOT NULL,
  placed DATETIME(3) NOT NULL,
  state ENUM('open','paid','sent','returned') NOT NULL DEFAULT 'open',
  total DECIMAL(14,4) NOT NULL DEFAULT 0,
  KEY by_customer (customer_id, placed),
  FOREIGN KEY (customer_id) REFERENCES customer (id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;

CREATE TABLE order_line (
  order_id BIGINT UNSIGNED NOT NULL,
  line SMALLINT NOT NULL,
  sku VARCHAR(24) CHARACTER SET ascii NOT NULL,
  amount INT NOT NULL,
  price DECIMAL(12,2) NOT NULL,
  value DECIMAL(18,2) GENERATED ALWAYS AS (amount * price) STORED,
  PRIMARY KEY (order_id, line),
  KEY by_sku (sku),
  FOREIGN KEY (order_id) REFERENCES orders (id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;

CREATE TABLE payment (
  id BINARY(16) NOT NULL PRIMARY KEY,
  order_id BIGINT UNSIGNED NOT NULL,
  amount DECIMAL(14,4) NOT NULL,
  at DATETIME NOT NULL,
  answer VARBINARY(200) NULL,
  FOREIGN KEY (order_id) REFERENCES orders (id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;

-- No primary key: such tables exist, and must be moved as exactly as the others.
CREATE TABLE page_view (
  at DATETIME(6) NOT NULL,
  customer_id BIGINT UNSIGNED NULL,
  page VARCHAR(120) NOT NULL,
  milliseconds SMALLINT UNSIGNED NULL,
  address VARBINARY(16) NULL,
  KEY by_time (at)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;

CREATE TABLE event_log (
  id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
  at DATETIME NOT NULL,
  kind TINYINT NOT NULL,
  subject INT NOT NULL,
  message VARCHAR(200) NOT NULL,
  payload LONGTEXT NULL,
  KEY by_time (at)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;

-- 0 to 199,999, from which the rows are made; dropped at the end.
CREATE TABLE number (n INT NOT NULL PRIMARY KEY) ENGINE=InnoDB;
INSERT INTO number
WITH digit AS (
  SELECT 0 AS n UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3 UNION ALL SELECT 4
  UNION ALL SELECT 5 UNION ALL SELECT 6 UNION ALL SELECT 7 UNION ALL SELECT 8 UNION ALL SELECT 9
)
SELECT a.n + 10 * b.n + 100 * c.n + 1000 * d.n + 10000 * e.n + 100000 * f.n
FROM digit a, digit b, digit c, digit d, digit e, digit f
WHERE f.n < 2;

INSERT INTO country (code, name, vat) VALUES
  ('AT', 'Österreich', 20), ('BE', 'België', 21), ('CH', 'Schweiz', 8.1), ('CZ', 'Česko', 21),
  ('DE', 'Deutschland', 19), ('DK', 'Danmark', 25), ('ES', 'España', 21), ('FR', 'France', 20),
  ('IT', 'Italia', 22), ('JP', '日本', 10), ('NL', 'Nederland', 21), ('PL', 'Polska', 23);

INSERT INTO customer (id, email, name, country, born, points, flags, settings, note)
SELECT n + 1, CONCAT('customer', n, '@example.org'),
  CONCAT(ELT(n % 7 + 1, 'Ana', 'Björn', 'Chloé', 'Dmitri', 'Eva', 'Françoise', 'Giò'), ' ',
         ELT(n % 5 + 1, 'Müller', 'O''Neill', 'García', 'Nowak', 'Sørensen'), ' ', n),
  ELT(n % 12 + 1, 'AT', 'BE', 'CH', 'CZ', 'DE', 'DK', 'ES', 'FR', 'IT', 'JP', 'NL', 'PL'),
  IF(n % 9 = 0, NULL, DATE '1950-01-01' + INTERVAL (n * 7 % 20000) DAY),
  n % 4000 - 2000, n % 256,
  IF(n % 3 = 0, NULL, CONCAT('{"newsletter": ', IF(n % 2, 'true', 'false'), ', "sizes": [', n % 9, ', 4.5, null], "name": "ü', n, '"}')),
  IF(n % 10 = 0, CONCAT('rings twice, says \\"hello\\"\n', REPEAT('…', n % 40)), NULL)
FROM number WHERE n < 10000;

INSERT INTO address (customer_id, kind, street, city, place)
SELECT n + 1, n % 3 + 1, CONCAT(n % 200, ' Main Street'), ELT(n % 4 + 1, 'Köln', 'Málaga', 'Orléans', 'Gdansk'),
  IF(n % 5 = 0, NULL, ST_GeomFromText(CONCAT('POINT(', n % 180, '.5 ', n % 90, '.25)')))
FROM number WHERE n < 10000;

INSERT INTO category VALUES (1, NULL, 'Everything'), (2, 1, 'Home'), (3, 1, 'Garden'), (4, 2, 'Kitchen'), (5, 3, 'Tools');

INSERT INTO product
SELECT CONCAT('SKU-', LPAD(n, 5, '0')), n % 5 + 1, CONCAT('Product no. ', n, ELT(n % 3 + 1, ' 🚲', ' “de luxe”', '')),
  n % 900 + 0.99, IF(n % 4 = 0, NULL, n / 7e0), n % 50 / 10e0, n % 32, 1990 + n % 40, 4000000000000 + n,
  IF(n % 2 = 0, NULL, UNHEX(REPEAT(SHA2(n, 256), 4)))
FROM number WHERE n < 3000;

INSERT INTO product_text
SELECT p.sku, l.language, CONCAT(l.language, ': ', p.title, '. ', REPEAT('Lorem ipsum dolor sit amet. ', 12))
FROM product p, (SELECT 'de' AS language UNION ALL SELECT 'en') l;

INSERT INTO stock
SELECT w.n, p.sku, 1000, IF(w.n = 0, NULL, '08:30:00.25')
FROM product p, (SELECT n FROM number WHERE n < 3) w;

INSERT INTO orders
SELECT n + 1, n * 13 % 10000 + 1, TIMESTAMP '2024-01-01 08:00:00.000' + INTERVAL n MINUTE, n % 4 + 1, n % 1000 + 0.5
FROM number WHERE n < 20000;

INSERT INTO order_line (order_id, line, sku, amount, price)
SELECT o.n + 1, l.n + 1, CONCAT('SKU-', LPAD((o.n * 17 + l.n) % 3000, 5, '0')), l.n + 1, o.n % 900 + 0.99
FROM number o, (SELECT n FROM number WHERE n < 2) l WHERE o.n < 20000;

INSERT INTO payment
SELECT UNHEX(LEFT(SHA2(n, 256), 32)), n + 1, n % 1000 + 0.5, TIMESTAMP '2024-01-01 09:00:00' + INTERVAL n MINUTE, UNHEX(CONCAT('00FF', HEX(n)))
FROM number WHERE n < 15000;

INSERT INTO page_view
SELECT TIMESTAMP '2024-05-01 00:00:00.000001' + INTERVAL n SECOND, IF(n % 4 = 0, NULL, n % 10000 + 1),
  CONCAT('/shop/', n % 300), n % 60000, UNHEX(LPAD(HEX(n), 8, '0'))
FROM number WHERE n < 20000;

INSERT INTO event_log
SELECT n + 1, TIMESTAMP '2024-01-01 00:00:00' + INTERVAL n SECOND, n % 7 - 3, n % 10000 + 1,
  CONCAT('event ', n, ' of the shop, ', SHA2(n, 224)), IF(n % 20 = 0, REPEAT(CONCAT('payload ', n, ' '), 20), NULL)
FROM number;

DROP TABLE number;
