// SPDX-License-Identifier: UNLICENSED
pragma solidity ^0.8.30;

import { IAccessManaged } from "@openzeppelin/contracts/access/manager/IAccessManaged.sol";
import { LogAnchor } from "../src/LogAnchor.sol";
import { ILogAnchor } from "../src/interfaces/ILogAnchor.sol";
import { LogAnchorFixture } from "./LogAnchorFixture.t.sol";

contract LogAnchorTest is LogAnchorFixture {
    uint64 private constant MOST = 70;

    event Anchored(uint64 indexed size, bytes32 root, bytes32 statusRoot, uint64 time);
    event OperatorChanged(address indexed operator);

    function setUp() public {
        deploy();
    }

    function _send(bytes32 root, uint64 size, bytes32[] memory proof) private {
        vm.prank(operator);
        log.anchor(root, size, statusAt(size), proof);
    }

    function _refuse(bytes memory reason, bytes32 root, uint64 size, bytes32[] memory proof) private {
        vm.expectRevert(reason);
        _send(root, size, proof);
    }

    function _invalid(uint64 current, uint64 size) private pure returns (bytes memory) {
        return abi.encodeWithSelector(ILogAnchor.LogAnchorProofInvalid.selector, current, size);
    }

    // ---------------------------------------------------------------- what it keeps

    function test_new_anchor_holds_the_empty_log_and_no_storage_is_zero() public view {
        ILogAnchor.Head memory head = log.head();
        assertEq(head.root, EMPTY, "root");
        assertEq(head.statusRoot, EMPTY, "status root");
        assertEq(head.size, 0, "size");
        assertEq(head.time, 1_800_000_000, "time");
        assertEq(log.originHash(), ORIGIN, "origin");
        assertEq(log.operator(), operator, "operator");
        for (uint256 slot = 0; slot < 6; ++slot) {
            assertTrue(vm.load(address(log), bytes32(slot)) != 0, "prefilled");
        }
    }

    function test_head_is_where_offline_verifiers_look_for_it() public {
        append(5, "a");
        anchorAt(5);
        assertEq(vm.load(address(log), bytes32(uint256(1))), rootAt(5), "slot 1");
        assertEq(vm.load(address(log), bytes32(uint256(2))), statusAt(5), "slot 2");
        assertEq(uint256(vm.load(address(log), bytes32(uint256(3)))), 5 | 1_800_000_000 << 64, "slot 3");
    }

    function test_binding_names_chain_and_log() public {
        bytes32 tag = keccak256("shuyao/v1/anchor");
        bytes32 here = keccak256(abi.encodePacked(tag, block.chainid, ORIGIN));
        assertEq(vm.load(address(log), bytes32(uint256(5))), here, "slot 5");
        assertEq(log.binding(), here, "binding");
        vm.chainId(block.chainid + 1);
        LogAnchor elsewhere = new LogAnchor(address(manager), operator, ORIGIN);
        assertTrue(elsewhere.binding() != here, "another chain");
    }

    function test_anchor_replaces_the_head_and_reports_it() public {
        append(3, "a");
        anchorAt(2);
        clock.warp(1_800_000_600);
        bytes32[] memory proof = proofBetween(2, 3);
        vm.expectEmit(true, false, false, true, address(log));
        emit Anchored(3, rootAt(3), statusAt(3), 1_800_000_600);
        _send(rootAt(3), 3, proof);
        ILogAnchor.Head memory head = log.head();
        assertEq(head.root, rootAt(3), "root");
        assertEq(head.statusRoot, statusAt(3), "status root");
        assertEq(head.size, 3, "size");
        assertEq(head.time, 1_800_000_600, "time");
    }

    function test_same_head_again_renews_its_time() public {
        append(3, "a");
        anchorAt(3);
        clock.warp(1_800_000_600);
        anchorAt(3);
        assertEq(log.head().time, 1_800_000_600, "time");
        assertEq(log.head().root, rootAt(3), "root");
    }

    // ---------------------------------------------------------------- who may

    function test_only_the_operator_anchors() public {
        append(1, "a");
        bytes32 root = rootAt(1);
        address[3] memory others = [stranger, admin, address(this)];
        for (uint256 i = 0; i < 3; ++i) {
            vm.expectRevert(abi.encodeWithSelector(ILogAnchor.LogAnchorNotOperator.selector, others[i]));
            vm.prank(others[i]);
            log.anchor(root, 1, EMPTY, new bytes32[](0));
        }
    }

    function test_the_managers_role_changes_the_operator_and_nobody_else_does() public {
        vm.expectRevert(abi.encodeWithSelector(IAccessManaged.AccessManagedUnauthorized.selector, operator));
        vm.prank(operator);
        log.setOperator(stranger);
        vm.expectEmit(true, false, false, true, address(log));
        emit OperatorChanged(stranger);
        vm.prank(admin);
        log.setOperator(stranger);
        append(1, "a");
        bytes32 root = rootAt(1);
        vm.expectRevert(abi.encodeWithSelector(ILogAnchor.LogAnchorNotOperator.selector, operator));
        vm.prank(operator);
        log.anchor(root, 1, EMPTY, new bytes32[](0));
        vm.prank(stranger);
        log.anchor(root, 1, EMPTY, new bytes32[](0));
        assertEq(log.head().size, 1, "size");
    }

    function test_no_operator_is_refused() public {
        vm.expectRevert(ILogAnchor.LogAnchorAddressZero.selector);
        vm.prank(admin);
        log.setOperator(address(0));
        vm.expectRevert(ILogAnchor.LogAnchorAddressZero.selector);
        new LogAnchor(address(manager), address(0), ORIGIN);
    }

    function test_anchoring_asks_no_other_contract() public {
        append(9, "a");
        vm.etch(address(manager), hex"fe");
        anchorAt(4);
        anchorAt(9);
        assertEq(log.head().size, 9, "size");
    }

    // ---------------------------------------------------------------- what it refuses

    function test_shrinking_log_is_refused() public {
        append(6, "a");
        anchorAt(6);
        bytes32[] memory proof = proofBetween(5, 6);
        _refuse(abi.encodeWithSelector(ILogAnchor.LogAnchorRollback.selector, 5, 6), rootAt(5), 5, proof);
        _refuse(
            abi.encodeWithSelector(ILogAnchor.LogAnchorRollback.selector, 0, 6), EMPTY, 0, new bytes32[](0)
        );
    }

    function test_other_root_at_the_same_size_is_a_fork() public {
        append(6, "a");
        anchorAt(6);
        bytes32 current = rootAt(6);
        bytes memory reason = abi.encodeWithSelector(ILogAnchor.LogAnchorFork.selector, 6, EMPTY, 6, current);
        _refuse(reason, EMPTY, 6, new bytes32[](0));
    }

    function test_other_status_root_at_the_same_size_is_refused() public {
        append(6, "a");
        anchorAt(6);
        bytes32 root = rootAt(6);
        vm.expectRevert(
            abi.encodeWithSelector(ILogAnchor.LogAnchorStatusFork.selector, 6, EMPTY, statusAt(6))
        );
        vm.prank(operator);
        log.anchor(root, 6, EMPTY, new bytes32[](0));
    }

    function test_log_that_forked_below_the_anchored_size_is_refused() public {
        append(6, "a");
        anchorAt(6);
        bytes32 current = rootAt(6);
        delete leaves;
        append(9, "b");
        bytes32 root = rootAt(9);
        bytes memory reason = abi.encodeWithSelector(ILogAnchor.LogAnchorFork.selector, 9, root, 6, current);
        _refuse(reason, root, 9, proofBetween(6, 9));
    }

    function test_proof_from_another_size_than_the_anchored_one_is_refused() public {
        append(13, "a");
        anchorAt(6);
        _refuse(_invalid(6, 13), rootAt(13), 13, proofBetween(7, 13));
        _refuse(_invalid(6, 13), rootAt(13), 13, proofBetween(3, 13));
    }

    function test_proof_where_none_belongs_is_refused() public {
        append(2, "a");
        _refuse(_invalid(0, 2), rootAt(2), 2, new bytes32[](1));
        anchorAt(2);
        _refuse(_invalid(2, 2), rootAt(2), 2, new bytes32[](1));
    }

    function test_proof_longer_than_any_log_needs_is_refused_unread() public {
        append(6, "a");
        anchorAt(5);
        bytes memory reason = abi.encodeWithSelector(ILogAnchor.LogAnchorProofTooLong.selector, 66, 65);
        _refuse(reason, rootAt(6), 6, new bytes32[](66));
        _refuse(_invalid(5, 6), rootAt(6), 6, new bytes32[](65));
    }

    function test_refused_anchor_changes_nothing() public {
        append(9, "a");
        anchorAt(6);
        bytes32 root = rootAt(6);
        _refuse(_invalid(6, 9), rootAt(9), 9, new bytes32[](3));
        assertEq(log.head().root, root, "root");
        assertEq(log.head().size, 6, "size");
    }

    function test_sizes_up_to_the_last_of_64_bits_are_verified() public {
        _send("any", type(uint64).max - 1, new bytes32[](0));
        _refuse(
            _invalid(type(uint64).max - 1, type(uint64).max), "other", type(uint64).max, new bytes32[](63)
        );
    }

    // ---------------------------------------------------------------- any log

    function testFuzz_every_growth_of_a_log_is_accepted(bytes32 salt, uint256 a, uint256 b, uint256 c)
        public
    {
        uint64 first = uint64(bound(a, 0, MOST));
        uint64 second = uint64(bound(b, first, MOST));
        uint64 third = uint64(bound(c, second, MOST));
        append(MOST, salt);
        anchorAt(first);
        anchorAt(second);
        anchorAt(third);
        assertEq(log.head().root, rootAt(third), "root");
    }

    function testFuzz_any_change_of_a_proof_is_refused(uint256 a, uint256 b, uint256 position, uint256 bit)
        public
    {
        uint64 first = uint64(bound(a, 1, MOST - 1));
        uint64 second = uint64(bound(b, first + 1, MOST));
        append(second, "a");
        anchorAt(first);
        bytes32[] memory proof = proofBetween(first, second);
        bytes32[] memory longer = new bytes32[](proof.length + 1);
        bytes32[] memory preceded = new bytes32[](proof.length + 1);
        bytes32[] memory shorter = new bytes32[](proof.length - 1);
        for (uint256 i = 0; i < proof.length; ++i) {
            longer[i] = proof[i];
            preceded[i + 1] = proof[i];
            if (i < shorter.length) shorter[i] = proof[i];
        }
        longer[proof.length] = EMPTY;
        preceded[0] = rootAt(first);
        _refuse(_invalid(first, second), rootAt(second), second, longer);
        _refuse(_invalid(first, second), rootAt(second), second, preceded);
        _refuse(_invalid(first, second), rootAt(second), second, shorter);
        position = bound(position, 0, proof.length - 1);
        proof[position] ^= bytes32(1 << (bit % 256));
        _refuse(_invalid(first, second), rootAt(second), second, proof);
    }

    function testFuzz_wrong_root_or_size_is_refused(uint256 a, uint256 b, uint256 bit, uint256 other) public {
        uint64 first = uint64(bound(a, 1, MOST - 1));
        uint64 second = uint64(bound(b, first + 1, MOST));
        append(second, "a");
        anchorAt(first);
        bytes32[] memory proof = proofBetween(first, second);
        _refuse(_invalid(first, second), rootAt(second) ^ bytes32(1 << (bit % 256)), second, proof);
        // Far smaller or greater sizes take another number of hashes; near ones may share every step of the path.
        uint64 wrong = uint64(bound(other, 2 * uint256(second), type(uint64).max));
        _refuse(_invalid(first, wrong), rootAt(second), wrong, proof);
    }
}
