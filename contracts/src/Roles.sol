// SPDX-License-Identifier: UNLICENSED
pragma solidity ^0.8.30;

/// @title The roles of participants, as bits. A participant may have several, never BROKER and REGULATOR at once.
library Roles {
    uint16 internal constant REGISTRAR = 1;
    uint16 internal constant HOLDER = 2;
    uint16 internal constant BROKER = 4;
    uint16 internal constant BUYER = 8;
    uint16 internal constant REGULATOR = 16;
    uint16 internal constant ISSUER = 32;
    uint16 internal constant TRUSTEE = 64;
    uint16 internal constant WITNESS = 128;
    uint16 internal constant ALL = 255;
}
