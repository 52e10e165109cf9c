// SPDX-License-Identifier: UNLICENSED
pragma solidity ^0.8.30;

import { IComputeLedger } from "../src/interfaces/IComputeLedger.sol";
import { ComputeLedger } from "../src/ComputeLedger.sol";
import { Roles } from "../src/Roles.sol";
import { Fixture } from "./Fixture.sol";

/// @title A request on its honest path, its hashes, its budget and its parameters.
contract RequestTest is Fixture {
    function setUp() public {
        deploy();
    }

    function test_three_holder_request_goes_through_every_state_and_pays() public {
        IComputeLedger.Request memory r = newRequest(3);
        bytes32 id = idOf(r);
        assertEq(ledger.requestId(r), id, "request id");
        assertEq(stateOf(r), 0, "none");
        open(r);
        assertEq(stateOf(r), 1, "open");
        for (uint256 i = 0; i < 3; ++i) {
            approve(r, i);
        }
        assertEq(stateOf(r), 1, "open until somebody shares");
        for (uint256 i = 0; i < 3; ++i) {
            share(r, i);
            assertEq(stateOf(r), 2, "sharing");
        }
        for (uint256 i = 0; i < 3; ++i) {
            contribute(r, i);
            assertEq(stateOf(r), 3, "contributing");
        }
        seal(r);
        assertEq(stateOf(r), 4, "sealed");
        answer(r, keccak256("answer"));
        assertEq(stateOf(r), 5, "answered");
        assertEq(ledger.answerRoot(id), keccak256("answer"), "answer root");
        accept(r);
        assertEq(stateOf(r), 6, "settled");

        // 10,007: 2 % platform 200, 8 % broker 800, each holder 3,002, remainder 1
        assertEq(settlement.balanceOf(platform), 201, "platform");
        assertEq(settlement.balanceOf(broker), 800, "broker");
        assertEq(settlement.balanceOf(holders[0]), 3002, "holder");
        assertEq(settlement.balanceOf(buyer), FUNDS - PRICE, "buyer");
        assertEq(settlement.bondOf(broker).locked, 0, "bond free again");
    }

    function test_commitment_sum_is_that_of_the_survivors() public {
        IComputeLedger.Request memory r = newRequest(4);
        open(r);
        assertEq(ledger.commitmentSum(idOf(r)), new bytes(128), "infinity before the first");
        uint256 scalar = 0;
        for (uint256 i = 0; i < 4; ++i) {
            approve(r, i);
        }
        for (uint256 i = 0; i < 4; ++i) {
            share(r, i);
        }
        for (uint256 i = 0; i < 3; ++i) {
            contribute(r, i);
            scalar += uint160(holders[i]);
        }
        assertEq(ledger.commitmentSum(idOf(r)), multiple(scalar), "sum");
    }

    function test_ids_and_session_are_those_of_the_document() public {
        IComputeLedger.Request memory r = runTo(3, 1);
        assertEq(assets.lineId(holders[0], KEY_SPACE), lineOf(holders[0]), "line");
        assertEq(assets.get(assetOf(holders[0])).holder, holders[0], "asset");
        assertEq(ledger.session(r, roster(r)), sessionOf(r), "session");
        bytes32 digest = keccak256(
            abi.encodePacked(
                tag("member"), uint256(1), lineOf(holders[0]), keysHashOf(idOf(r), holders[0]), bytes32(0)
            )
        );
        bytes32 slot = bytes32(uint256(1) << 248 | uint256(digest) & (2 ** 248 - 1));
        assertEq(ledger.member(idOf(r), holders[0]), slot, "member slot");
        assertEq(
            ledger.acceptDigest(idOf(r)),
            typed(keccak256(abi.encode(keccak256("Accept(bytes32 requestId)"), idOf(r)))),
            "accept"
        );
    }

    function test_session_does_not_depend_on_the_order_of_approvals() public {
        IComputeLedger.Request memory r = newRequest(3);
        open(r);
        approve(r, 2);
        approve(r, 0);
        approve(r, 1);
        assertEq(ledger.session(r, roster(r)), sessionOf(r), "session");
    }

    function test_one_holder_alone_is_a_request() public {
        IComputeLedger.Request memory r = runTo(1, 5);
        accept(r);
        assertEq(stateOf(r), 6, "settled");
    }

    function test_budget_is_reserved_at_approval_and_charged_to_survivors_at_the_seal() public {
        IComputeLedger.Request memory r = runTo(3, 2);
        contribute(r, 0);
        contribute(r, 2);
        assertEq(ledger.line(lineOf(holders[1])).reserved, RHO, "reserved");
        vm.roll(r.contributeBy + 1);
        seal(r);
        for (uint256 i = 0; i < 3; ++i) {
            IComputeLedger.Line memory l = ledger.line(lineOf(holders[i]));
            assertEq(l.reserved, 0, "no reservation is left");
            assertEq(l.spent, i == 1 ? 0 : RHO, "only survivors are charged");
        }
    }

    function test_reservations_never_exceed_the_budget_over_many_requests() public {
        uint256 fitting = BUDGET / RHO;
        for (uint256 k = 0; k < fitting; ++k) {
            IComputeLedger.Request memory r = newRequest(1);
            open(r);
            approve(r, 0);
        }
        IComputeLedger.Request memory last = newRequest(1);
        open(last);
        refuse(holders[0], approveCall(last, 0), IComputeLedger.ComputeLedgerBudgetExceeded.selector);
        assertEq(ledger.line(lineOf(holders[0])).reserved, BUDGET, "all of it");
    }

    function testFuzz_budget_is_never_exceeded(uint64 total, uint64[12] memory rhos) public {
        address holder = vm.addr(0xC0FFEE);
        admit(holder, holder, Roles.HOLDER);
        total = uint64(bound(total, 1, type(uint64).max));
        vm.roll(block.number + 1);
        bytes32 asset = registerAsset(holder, NAME, 1);
        perform(holder, abi.encodeCall(ledger.openLine, (KEY_SPACE, total)));
        perform(holder, address(assets), abi.encodeCall(assets.entrust, (asset, listing, broker)));
        uint256 expected = 0;
        for (uint256 k = 0; k < rhos.length; ++k) {
            IComputeLedger.Request memory r = newRequest(1);
            r.rho = uint64(bound(rhos[k], 1, type(uint64).max));
            vm.roll(block.number + 1);
            open(r);
            bytes memory data = abi.encodeCall(ledger.approve, (r, asset, keysOf(idOf(r), holder)));
            (bool success,) = attempt(holder, address(ledger), data);
            assertTrue(success == (expected + r.rho <= total), "approved exactly if it fits");
            if (success) expected += r.rho;
        }
        assertEq(ledger.line(lineOf(holder)).reserved, expected, "reserved");
    }

    function test_nonces_are_used_once_in_any_order() public {
        uint256[4] memory nonces = [uint256(300), 7, type(uint256).max, 256];
        for (uint256 k = 0; k < nonces.length; ++k) {
            IComputeLedger.Request memory r = newRequest(1);
            r.nonce = nonces[k];
            assertTrue(!ledger.nonceUsed(buyer, r.nonce), "free");
            open(r);
            assertTrue(ledger.nonceUsed(buyer, r.nonce), "used");
            r.price += 1;
            refuse(broker, openCall(r, BUYER_KEY), IComputeLedger.ComputeLedgerNonceUsed.selector);
        }
    }

    /// @dev (n, c -> t, d_max) of the design: 1,0->1,0; 2,0->2,0; 3,0->2,1; 3,1->3,0; 4,1->3,1; 5,1->4,1; 10,3->7,3.
    function test_parameters_are_those_of_the_design() public view {
        uint16[4][7] memory rows = [
            [uint16(1), 0, 1, 0],
            [uint16(2), 0, 2, 0],
            [uint16(3), 0, 2, 1],
            [uint16(3), 1, 3, 0],
            [uint16(4), 1, 3, 1],
            [uint16(5), 1, 4, 1],
            [uint16(10), 3, 7, 3]
        ];
        IComputeLedger.Request memory r;
        r.dropouts = 1024;
        for (uint256 k = 0; k < rows.length; ++k) {
            r.colluders = rows[k][1];
            IComputeLedger.Parameters memory p = ledger.parameters(r, rows[k][0]);
            assertTrue(p.valid, "valid");
            assertEq(p.threshold, rows[k][2], "threshold");
            assertEq(p.dropouts, rows[k][3], "dropouts");
        }
    }

    function testFuzz_valid_parameters_keep_every_promise(uint16 n, uint16 c, uint16 d, uint16 least)
        public
        view
    {
        IComputeLedger.Request memory r;
        (r.colluders, r.dropouts, r.minHolders) = (c, d, least);
        IComputeLedger.Parameters memory p = ledger.parameters(r, n);
        uint256 t = (uint256(n) + c) / 2 + 1;
        uint256 dropouts = t > n ? 0 : (n - t < d ? n - t : d);
        bool isValid = t <= n && n <= 1024 && uint256(n) >= dropouts + c + 1 && n >= least;
        assertTrue(p.valid == isValid, "valid exactly as in section 3");
        if (!isValid) return;
        assertEq(p.threshold, t, "threshold");
        assertEq(p.divisor, n - c - dropouts, "divisor");
        assertTrue(p.divisor >= 1, "some honest noise is left");
        assertTrue(2 * uint256(p.threshold) > uint256(n) + c, "no two stories");
        assertTrue(p.floor >= t && p.floor >= n - dropouts && p.floor >= least && p.floor <= n, "floor");
    }

    function test_deployment_refuses_a_settlement_of_another_ledger() public {
        vm.expectPartialRevert(IComputeLedger.ComputeLedgerSettlementMismatch.selector);
        new ComputeLedger(participants, assets, settlement, WINDOW);
        vm.expectRevert(IComputeLedger.ComputeLedgerWindowZero.selector);
        new ComputeLedger(participants, assets, settlement, 0);
    }
}
