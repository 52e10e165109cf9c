// SPDX-License-Identifier: UNLICENSED
pragma solidity ^0.8.30;

import { Bls12381 } from "../src/Bls12381.sol";

/// @title What the library does, callable from outside: for third-party vectors, never deployed with the product.
contract BlsHarness {
    /// @notice Returns the point, or reverts as the ledger would.
    function requireInSubgroup(bytes calldata point) external view returns (bytes memory) {
        return Bls12381.encode(Bls12381.requireInSubgroup(point));
    }

    /// @notice The sum of two points, 128 bytes each, through the packed form that the ledger stores.
    function add(bytes calldata left, bytes calldata right) external view returns (bytes memory) {
        Bls12381.Point memory sum =
            Bls12381.add(abi.decode(left, (Bls12381.Point)), abi.decode(right, (Bls12381.Point)));
        return Bls12381.encode(Bls12381.unpack(Bls12381.pack(sum)));
    }
}
