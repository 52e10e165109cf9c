// SPDX-License-Identifier: UNLICENSED
pragma solidity ^0.8.30;

/// @title BLS12-381 G1 by the precompiles of EIP-2537.
/// @notice Points are their 128 bytes: `0^16 ‖ x ‖ 0^16 ‖ y`; infinity is all zero.
/// @dev A call to a precompile that the chain lacks succeeds with no bytes: the returned length is always checked. A precompile that
/// refuses its input burns all its gas, so it is given little more than it needs.
library Bls12381 {
    address internal constant G1ADD = 0x000000000000000000000000000000000000000b;
    address internal constant G1MSM = 0x000000000000000000000000000000000000000C;
    uint256 private constant GAS = 100_000;
    uint256 private constant LENGTH = 128;

    /// @notice The 128 bytes of a point.
    struct Point {
        bytes32 xHigh;
        bytes32 xLow;
        bytes32 yHigh;
        bytes32 yLow;
    }

    /// @notice A point in three words: `x ‖ y`, 48 bytes each.
    struct PackedPoint {
        bytes32 a;
        bytes32 b;
        bytes32 c;
    }

    error Bls12381PrecompileAbsent(address precompile);
    error Bls12381PointInvalid();
    error Bls12381LengthWrong(uint256 length);

    /// @notice Reverts unless the chain has both precompiles.
    function requirePrecompiles() internal view {
        Point memory infinity;
        add(infinity, infinity);
        _requireInSubgroup(infinity);
    }

    /// @notice Reads a point; reverts unless it is canonical, on the curve and in the subgroup of order q.
    function requireInSubgroup(bytes calldata encoded) internal view returns (Point memory point) {
        if (encoded.length != LENGTH) revert Bls12381LengthWrong(encoded.length);
        point = abi.decode(encoded, (Point));
        _requireInSubgroup(point);
    }

    /// @notice left + right. Both must be canonical points of the curve; subgroups are not checked here.
    function add(Point memory left, Point memory right) internal view returns (Point memory sum) {
        bytes32[8] memory input;
        bool success;
        uint256 returned;
        assembly ("memory-safe") {
            mcopy(input, left, 0x80)
            mcopy(add(input, 0x80), right, 0x80)
            success := staticcall(GAS, G1ADD, input, 0x100, sum, 0x80)
            returned := returndatasize()
        }
        _requireOutput(G1ADD, success, returned);
    }

    function pack(Point memory point) internal pure returns (PackedPoint memory packed) {
        packed.a = point.xHigh << 128 | point.xLow >> 128;
        packed.b = point.xLow << 128 | point.yHigh;
        packed.c = point.yLow;
    }

    function unpack(PackedPoint memory packed) internal pure returns (Point memory point) {
        point.xHigh = packed.a >> 128;
        point.xLow = packed.a << 128 | packed.b >> 128;
        point.yHigh = packed.b << 128 >> 128;
        point.yLow = packed.c;
    }

    function encode(Point memory point) internal pure returns (bytes memory) {
        return abi.encode(point);
    }

    /// @dev G1MSM refuses what is not canonical, not on the curve or not in the subgroup; 1·P is P again.
    function _requireInSubgroup(Point memory point) private view {
        bytes32[5] memory input;
        Point memory output;
        bool success;
        uint256 returned;
        assembly ("memory-safe") {
            mcopy(input, point, 0x80)
            mstore(add(input, 0x80), 1)
            success := staticcall(GAS, G1MSM, input, 0xa0, output, 0x80)
            returned := returndatasize()
        }
        _requireOutput(G1MSM, success, returned);
        if (
            output.xHigh != point.xHigh || output.xLow != point.xLow || output.yHigh != point.yHigh
                || output.yLow != point.yLow
        ) revert Bls12381PointInvalid();
    }

    function _requireOutput(address precompile, bool success, uint256 returned) private pure {
        if (!success) revert Bls12381PointInvalid();
        if (returned != LENGTH) revert Bls12381PrecompileAbsent(precompile);
    }
}
