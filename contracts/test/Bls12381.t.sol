// SPDX-License-Identifier: UNLICENSED
pragma solidity ^0.8.30;

import { Bls12381 } from "../src/Bls12381.sol";
import { BlsHarness } from "./BlsHarness.sol";
import { Fixture } from "./Fixture.sol";

/// @title Points of G1. Third-party vectors run against the same harness from outside.
contract Bls12381Test is Fixture {
    BlsHarness private harness;

    function setUp() public {
        harness = new BlsHarness();
    }

    function testFuzz_sum_of_multiples_is_the_multiple_of_the_sum(uint128 a, uint128 b) public view {
        bytes memory sum = harness.add(multiple(a), multiple(b));
        assertEq(sum, multiple(uint256(a) + b), "sum");
        assertEq(harness.requireInSubgroup(sum), sum, "subgroup");
    }

    function test_infinity_is_neutral_and_in_the_subgroup() public view {
        bytes memory infinity = new bytes(128);
        assertEq(harness.requireInSubgroup(infinity), infinity, "infinity");
        assertEq(harness.add(infinity, generator()), generator(), "neutral");
        uint256 order = 0x73eda753299d7d483339d80809a1d80553bda402fffe5bfeffffffff00000001;
        assertEq(harness.add(multiple(order - 1), generator()), infinity, "inverse");
    }

    function testFuzz_changed_byte_is_no_point(uint256 scalar, uint8 at, uint8 flip) public {
        bytes memory point = multiple(bound(scalar, 1, 1 << 254));
        at = uint8(bound(at, 0, 127));
        flip = uint8(bound(flip, 1, 255));
        point[at] ^= bytes1(flip);
        vm.expectRevert(Bls12381.Bls12381PointInvalid.selector);
        harness.requireInSubgroup(point);
    }

    function test_absent_precompile_is_named() public {
        vm.mockCall(Bls12381.G1ADD, "", "");
        vm.expectRevert(abi.encodeWithSelector(Bls12381.Bls12381PrecompileAbsent.selector, Bls12381.G1ADD));
        harness.add(new bytes(128), new bytes(128));
    }
}
