// SPDX-License-Identifier: UNLICENSED
pragma solidity ^0.8.30;

import { AnswerTree } from "../src/AnswerTree.sol";
import { IComputeLedger } from "../src/interfaces/IComputeLedger.sol";
import { Fixture } from "./Fixture.sol";

/// @title Answers: who gives them when, chunks on demand, acceptance and the window.
contract AnswerTest is Fixture {
    function setUp() public {
        deploy();
    }

    // ---------------------------------------------------------------- a tree, built the recursive way of RFC 6962

    function _chunk(uint32 cells, uint32 k) private pure returns (bytes memory data) {
        uint256 count = cells - k * 256 < 256 ? cells - k * 256 : 256;
        bool isLast = k * 256 + count == cells;
        data = new bytes(count * 8 + (isLast ? 32 : 0));
        for (uint256 i = 0; i < data.length; i += 32) {
            bytes32 filler = keccak256(abi.encode("cells", k, i));
            for (uint256 j = 0; j < 32 && i + j < data.length; ++j) {
                data[i + j] = filler[j];
            }
        }
    }

    function _leaf(bytes32 session, uint32 cells, uint32 k) private pure returns (bytes32) {
        return h("answer-leaf", session, bytes32(uint256(k)), keccak256(_chunk(cells, k)));
    }

    /// @dev MTH over leaves first … first + count - 1.
    function _root(bytes32 session, uint32 cells, uint32 first, uint32 count) private pure returns (bytes32) {
        if (count == 1) return _leaf(session, cells, first);
        uint32 split = 1;
        while (split * 2 < count) split *= 2;
        return h(
            "answer-node",
            _root(session, cells, first, split),
            _root(session, cells, first + split, count - split)
        );
    }

    /// @dev PATH of RFC 6962 for leaf k, from the leaf up.
    function _path(bytes32 session, uint32 cells, uint32 k, uint32 first, uint32 count)
        private
        pure
        returns (bytes32[] memory path)
    {
        if (count == 1) return new bytes32[](0);
        uint32 split = 1;
        while (split * 2 < count) split *= 2;
        bool isLeft = k - first < split;
        bytes32[] memory below = isLeft
            ? _path(session, cells, k, first, split)
            : _path(session, cells, k, first + split, count - split);
        path = new bytes32[](below.length + 1);
        for (uint256 i = 0; i < below.length; ++i) {
            path[i] = below[i];
        }
        path[below.length] = isLeft
            ? _root(session, cells, first + split, count - split)
            : _root(session, cells, first, split);
    }

    function _answered(uint32 cells) private returns (IComputeLedger.Request memory r, bytes32 treeRoot) {
        r = runTo(2, 4);
        bytes32 session = sessionOf(r);
        treeRoot = _root(session, cells, 0, (cells + 255) / 256);
        answer(r, h("answer", session, bytes32(uint256(cells)), treeRoot));
    }

    function _postCall(IComputeLedger.Request memory r, uint32 cells, uint32 k)
        private
        view
        returns (bytes memory)
    {
        bytes32[] memory path = _path(sessionOf(r), cells, k, 0, (cells + 255) / 256);
        return abi.encodeCall(ledger.postChunk, (r, roster(r), cells, k, _chunk(cells, k), path));
    }

    // ---------------------------------------------------------------- answering

    function test_answer_is_the_brokers_until_its_deadline() public {
        IComputeLedger.Request memory r = runTo(3, 4);
        bytes memory data = answerCall(r, keccak256("answer"));
        refuse(stranger, data, IComputeLedger.ComputeLedgerCallerWrong.selector);
        vm.roll(r.answerBy + 1);
        refuse(broker, data, IComputeLedger.ComputeLedgerTooLate.selector);
        r = runTo(3, 3);
        data = answerCall(r, keccak256("answer"));
        refuse(broker, data, IComputeLedger.ComputeLedgerStateWrong.selector);
        seal(r);
        vm.roll(r.answerBy);
        perform(broker, data);
        refuse(broker, data, IComputeLedger.ComputeLedgerStateWrong.selector);
    }

    function test_messages_posted_late_leave_the_broker_time_to_answer() public {
        IComputeLedger.Request memory r = runTo(3, 4);
        vm.roll(r.answerBy + WINDOW / 2);
        postUnmask(r, 0);
        bytes memory data = answerCall(r, keccak256("answer"));
        refuse(broker, data, IComputeLedger.ComputeLedgerTooLate.selector);
        postUnmask(r, 1);
        vm.roll(r.answerBy + WINDOW);
        perform(broker, data);
        assertEq(stateOf(r), 5, "answered");
    }

    // ---------------------------------------------------------------- acceptance

    function test_release_needs_the_buyers_acceptance_or_the_window() public {
        IComputeLedger.Request memory r = runTo(3, 5);
        refuse(stranger, acceptCall(r, BROKER_KEY), IComputeLedger.ComputeLedgerSignatureWrong.selector);
        vm.roll(block.number + WINDOW);
        refuse(stranger, releaseCall(r), IComputeLedger.ComputeLedgerTooEarly.selector);
        vm.roll(block.number + 1);
        perform(stranger, releaseCall(r));
        assertEq(stateOf(r), 6, "settled");
        refuse(stranger, releaseCall(r), IComputeLedger.ComputeLedgerStateWrong.selector);
        refuse(stranger, acceptCall(r, BUYER_KEY), IComputeLedger.ComputeLedgerStateWrong.selector);
    }

    function test_acceptance_of_one_request_does_not_release_another() public {
        IComputeLedger.Request memory r = runTo(2, 5);
        IComputeLedger.Request memory other = runTo(2, 5);
        bytes memory data = abi.encodeCall(ledger.release, (r, survivors(r), acceptance(other, BUYER_KEY)));
        refuse(stranger, data, IComputeLedger.ComputeLedgerSignatureWrong.selector);
    }

    function test_release_pays_all_survivors_and_nobody_else() public {
        IComputeLedger.Request memory r = runTo(4, 2);
        for (uint256 i = 0; i < 3; ++i) {
            contribute(r, i);
        }
        vm.roll(r.contributeBy + 1);
        seal(r);
        answer(r, keccak256("answer"));
        IComputeLedger.Member[] memory few = new IComputeLedger.Member[](2);
        (few[0], few[1]) = (roster(r)[0], roster(r)[1]);
        bytes memory data = abi.encodeCall(ledger.release, (r, few, acceptance(r, BUYER_KEY)));
        refuse(stranger, data, IComputeLedger.ComputeLedgerMembersIncomplete.selector);
        perform(stranger, abi.encodeCall(ledger.release, (r, roster(r), acceptance(r, BUYER_KEY))));
        assertEq(settlement.balanceOf(holders[2]), 3002, "a survivor");
        assertEq(settlement.balanceOf(holders[3]), 0, "who dropped out is not paid");
    }

    // ---------------------------------------------------------------- chunks

    function testFuzz_every_chunk_of_every_size_can_be_posted(uint32 cells, uint32 k) public {
        cells = uint32(bound(cells, 1, 2500));
        k = uint32(bound(k, 0, (cells - 1) / 256));
        (IComputeLedger.Request memory r,) = _answered(cells);
        perform(buyer, demandCall(r, k));
        perform(broker, _postCall(r, cells, k));
        assertEq(ledger.status(idOf(r)).demandedAt, 0, "met");
        assertEq(ledger.status(idOf(r)).demandedChunk, k + 1, "the next may be demanded");
    }

    function test_the_largest_answer_has_512_chunks() public pure {
        assertEq(AnswerTree.chunks(1 << 17), 512, "chunks");
        assertEq(AnswerTree.chunkLength(1 << 17, 511), 2048 + 32, "the last carries the lane");
        assertEq(AnswerTree.chunkLength(1 << 17, 510), 2048, "the others do not");
        assertEq(AnswerTree.chunkLength(1, 0), 40, "one cell");
    }

    function test_demands_are_the_buyers_one_at_a_time_ascending_and_in_the_window() public {
        (IComputeLedger.Request memory r,) = _answered(1000);
        refuse(stranger, demandCall(r, 0), IComputeLedger.ComputeLedgerCallerWrong.selector);
        refuse(buyer, demandCall(r, 512), IComputeLedger.ComputeLedgerChunkNotDemandable.selector);
        perform(buyer, demandCall(r, 1));
        refuse(buyer, demandCall(r, 2), IComputeLedger.ComputeLedgerDemandOpen.selector);
        refuse(stranger, releaseCall(r), IComputeLedger.ComputeLedgerDemandOpen.selector);
        vm.roll(block.number + WINDOW);
        perform(broker, _postCall(r, 1000, 1));
        refuse(buyer, demandCall(r, 1), IComputeLedger.ComputeLedgerChunkNotDemandable.selector);
        refuse(buyer, demandCall(r, 0), IComputeLedger.ComputeLedgerChunkNotDemandable.selector);
        vm.roll(block.number + WINDOW);
        refuse(stranger, releaseCall(r), IComputeLedger.ComputeLedgerTooEarly.selector);
        perform(buyer, demandCall(r, 2));
        perform(broker, _postCall(r, 1000, 2));
        vm.roll(block.number + WINDOW + 1);
        refuse(buyer, demandCall(r, 3), IComputeLedger.ComputeLedgerTooLate.selector);
        perform(stranger, releaseCall(r));
    }

    function test_posting_refuses_what_is_not_the_demanded_chunk() public {
        (IComputeLedger.Request memory r,) = _answered(1000);
        refuse(broker, _postCall(r, 1000, 0), IComputeLedger.ComputeLedgerDemandMissing.selector);
        perform(buyer, demandCall(r, 1));
        refuse(broker, _postCall(r, 1000, 0), IComputeLedger.ComputeLedgerDemandMissing.selector);
        refuse(stranger, _postCall(r, 1000, 1), IComputeLedger.ComputeLedgerCallerWrong.selector);
        bytes32[] memory path = _path(sessionOf(r), 1000, 1, 0, 4);
        bytes memory data = _chunk(1000, 1);
        IComputeLedger.Member[] memory members = roster(r);
        bytes4 root = IComputeLedger.ComputeLedgerAnswerRootWrong.selector;
        bytes4 malformed = IComputeLedger.ComputeLedgerChunkMalformed.selector;
        bytes4 wrongPath = AnswerTree.AnswerTreePathWrong.selector;
        refuse(broker, _post(r, members, 999, 1, data, path), root);
        refuse(broker, _post(r, members, 1000, 1, new bytes(2047), path), malformed);
        refuse(broker, _post(r, members, 256, 1, data, path), malformed);
        refuse(broker, _post(r, members, 0, 1, data, path), AnswerTree.AnswerTreeCellsWrong.selector);
        refuse(
            broker, _post(r, members, 1 << 17 | 1, 1, data, path), AnswerTree.AnswerTreeCellsWrong.selector
        );
        refuse(broker, _post(r, members, 1000, 1, data, new bytes32[](1)), wrongPath);
        refuse(broker, _post(r, members, 1000, 1, data, new bytes32[](3)), wrongPath);
        refuse(broker, _post(r, members, 1000, 1, data, new bytes32[](2)), root);
        data[7] ^= 0x01;
        refuse(broker, _post(r, members, 1000, 1, data, path), root);
        members = new IComputeLedger.Member[](1);
        members[0] = roster(r)[0];
        data[7] ^= 0x01;
        refuse(
            broker,
            _post(r, members, 1000, 1, data, path),
            IComputeLedger.ComputeLedgerMembersIncomplete.selector
        );
        perform(broker, _postCall(r, 1000, 1));
    }

    function test_broker_whose_root_names_another_session_cannot_meet_a_demand() public {
        IComputeLedger.Request memory r = runTo(2, 4);
        bytes32 session = keccak256("another");
        bytes32 treeRoot = _root(session, 100, 0, 1);
        answer(r, h("answer", session, bytes32(uint256(100)), treeRoot));
        perform(buyer, demandCall(r, 0));
        bytes memory data = _post(r, roster(r), 100, 0, _chunk(100, 0), new bytes32[](0));
        refuse(broker, data, IComputeLedger.ComputeLedgerAnswerRootWrong.selector);
    }

    function test_demand_that_is_not_met_costs_the_broker_its_bond() public {
        (IComputeLedger.Request memory r,) = _answered(1000);
        refuse(stranger, withholdCall(r), IComputeLedger.ComputeLedgerTooEarly.selector);
        perform(buyer, demandCall(r, 3));
        vm.roll(block.number + WINDOW);
        refuse(stranger, withholdCall(r), IComputeLedger.ComputeLedgerTooEarly.selector);
        vm.roll(block.number + 1);
        refuse(broker, _postCall(r, 1000, 3), IComputeLedger.ComputeLedgerTooLate.selector);
        refuse(stranger, releaseCall(r), IComputeLedger.ComputeLedgerDemandOpen.selector);
        perform(stranger, withholdCall(r));
        assertEq(stateOf(r), 8, "withheld");
        assertEq(settlement.balanceOf(buyer), FUNDS, "the buyer has its price back");
        assertEq(settlement.balanceOf(holders[0]), 4503, "the survivors are paid");
    }

    function test_demand_for_a_chunk_that_does_not_exist_is_refuted() public {
        (IComputeLedger.Request memory r, bytes32 treeRoot) = _answered(1000);
        perform(buyer, demandCall(r, 3));
        bytes memory data = abi.encodeCall(ledger.refuteDemand, (r, roster(r), 1000, treeRoot));
        refuse(broker, data, IComputeLedger.ComputeLedgerDemandFounded.selector);
        bytes memory lie = abi.encodeCall(ledger.refuteDemand, (r, roster(r), 100, treeRoot));
        refuse(broker, lie, IComputeLedger.ComputeLedgerAnswerRootWrong.selector);
        perform(broker, _postCall(r, 1000, 3));
        refuse(broker, data, IComputeLedger.ComputeLedgerDemandMissing.selector);
        perform(buyer, demandCall(r, 4));
        refuse(stranger, data, IComputeLedger.ComputeLedgerCallerWrong.selector);
        perform(broker, data);
        assertEq(ledger.status(idOf(r)).demandedAt, 0, "met");
        vm.roll(block.number + WINDOW + 1);
        perform(stranger, releaseCall(r));
    }

    function test_buyer_may_accept_while_its_demand_waits() public {
        (IComputeLedger.Request memory r,) = _answered(1000);
        perform(buyer, demandCall(r, 0));
        accept(r);
        assertEq(stateOf(r), 6, "settled");
    }

    function _post(
        IComputeLedger.Request memory r,
        IComputeLedger.Member[] memory members,
        uint32 cells,
        uint32 k,
        bytes memory data,
        bytes32[] memory path
    ) private view returns (bytes memory) {
        return abi.encodeCall(ledger.postChunk, (r, members, cells, k, data, path));
    }
}
