// SPDX-License-Identifier: UNLICENSED
pragma solidity ^0.8.30;

import { IComputeLedger } from "../src/interfaces/IComputeLedger.sol";
import { Fixture } from "./Fixture.sol";

/// @title What a three-holder request costs, in gas of whole transactions.
/// @dev With `isolate` each call from the test is a transaction of its own: 21,000, its calldata, cold storage, refunds.
contract GasTest is Fixture {
    uint256 private constant LIMIT = 1_200_000;

    function setUp() public {
        deploy();
    }

    /// forge-config: default.isolate = true
    function test_three_holder_request_costs_at_most_the_limit_even_the_first() public {
        uint256 first = _measure(true);
        uint256 second = _measure(false);
        emit log_named_uint("first request", first);
        emit log_named_uint("second request", second);
        assertLe(first, LIMIT, "gas of the first request");
        assertLe(second, LIMIT, "gas of a later request");
    }

    function _measure(bool isLogged) private returns (uint256 total) {
        uint256 gas;
        IComputeLedger.Request memory r = newRequest(3);
        open(r);
        gas = _last("open", isLogged);
        total += gas;
        for (uint256 i = 0; i < 3; ++i) {
            approve(r, i);
            total += _last("approve", isLogged);
        }
        for (uint256 i = 0; i < 3; ++i) {
            share(r, i);
            total += _last("share", isLogged);
        }
        for (uint256 i = 0; i < 3; ++i) {
            contribute(r, i);
            total += _last("contribute", isLogged);
        }
        seal(r);
        total += _last("seal", isLogged);
        answer(r, keccak256("answer"));
        total += _last("answer", isLogged);
        accept(r);
        total += _last("release", isLogged);
    }

    function _last(string memory what, bool isLogged) private returns (uint256 gas) {
        gas = vm.lastCallGas().gasTotalUsed;
        if (isLogged) emit log_named_uint(what, gas);
    }
}
